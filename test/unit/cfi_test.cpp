// frame_rule() over functions whose call frame information is written out by hand. They are never run.
#include <gtest/gtest.h>

#include <cstdint>

#include "agent/capture/cfi.hpp"
#include "agent/modules.hpp"

// Each label cfi_* stands behind an instruction, where a return address would be.
asm(R"(
        .text
        .macro at name
        nop
        .globl \name
\name:
        .endm
        .macro open name
        .globl \name
        .type \name, @function
\name:  .cfi_startproc
        .endm
        .macro close name
        .cfi_endproc
        .size \name, . - \name
        .endm

        open cfi_frameless
        at cfi_entry
        .cfi_adjust_cfa_offset 40
        at cfi_grown
        .cfi_remember_state
        .cfi_adjust_cfa_offset -40
        at cfi_shrunk
        .cfi_restore_state
        at cfi_restored
        .skip 300
        .cfi_def_cfa_offset 16
        at cfi_far
        close cfi_frameless

        open cfi_framed
        .cfi_def_cfa_offset 16
        .cfi_offset 6, -16
        at cfi_pushed
        .cfi_def_cfa_register 6
        at cfi_has_frame
        .cfi_def_cfa 7, 8
        .cfi_restore 6
        at cfi_left
        close cfi_framed

        open cfi_other
        .cfi_def_cfa 10, 16
        at cfi_by_another_register
        .cfi_def_cfa 7, 16
        .cfi_register 6, 3
        at cfi_frame_pointer_in_register
        .cfi_same_value 6
        at cfi_frame_pointer_unchanged
        .cfi_escape 0x0f, 0x03, 0x76, 0x78, 0x06
        at cfi_expression
        .cfi_def_cfa 7, 24
        .cfi_escape 0x10, 0x06, 0x02, 0x76, 0x00
        at cfi_frame_pointer_by_expression
        .cfi_same_value 6
        .cfi_offset 16, -24
        at cfi_return_address_elsewhere
        .cfi_offset 16, -8
        at cfi_return_address_back
        .cfi_undefined 16
        at cfi_outermost
        close cfi_other

        open cfi_signal
        .cfi_signal_frame
        at cfi_in_signal_frame
        close cfi_signal

        at cfi_without_table
        nop
)");

#define LABEL(name) extern "C" const unsigned char name[]
LABEL(cfi_frameless);
LABEL(cfi_entry);
LABEL(cfi_grown);
LABEL(cfi_shrunk);
LABEL(cfi_restored);
LABEL(cfi_far);
LABEL(cfi_pushed);
LABEL(cfi_has_frame);
LABEL(cfi_left);
LABEL(cfi_by_another_register);
LABEL(cfi_frame_pointer_in_register);
LABEL(cfi_frame_pointer_unchanged);
LABEL(cfi_expression);
LABEL(cfi_frame_pointer_by_expression);
LABEL(cfi_return_address_elsewhere);
LABEL(cfi_return_address_back);
LABEL(cfi_outermost);
LABEL(cfi_in_signal_frame);
LABEL(cfi_without_table);

namespace asynctrace::agent {
namespace {

uint64_t address(const unsigned char* label) {
  return reinterpret_cast<uint64_t>(label);
}

class CfiTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_TRUE(start_modules()); }
};

void expect_plain(const unsigned char* at, FrameRule::Base base, int64_t cfa_offset,
                  bool saves_frame_pointer) {
  const FrameRule rule = frame_rule(address(at));
  EXPECT_TRUE(rule.plain);
  EXPECT_EQ(rule.base, base);
  EXPECT_EQ(rule.cfa_offset, cfa_offset);
  EXPECT_EQ(rule.saves_frame_pointer, saves_frame_pointer);
  if (saves_frame_pointer) {
    EXPECT_EQ(rule.saved_at, -16);
  }
}

TEST_F(CfiTest, FixedDistancesFromTheStackPointer) {
  expect_plain(cfi_entry, FrameRule::Base::kStackPointer, 8, false);
  expect_plain(cfi_grown, FrameRule::Base::kStackPointer, 48, false);
  expect_plain(cfi_shrunk, FrameRule::Base::kStackPointer, 8, false);
  expect_plain(cfi_restored, FrameRule::Base::kStackPointer, 48, false);
  expect_plain(cfi_far, FrameRule::Base::kStackPointer, 16, false);
}

TEST_F(CfiTest, FixedDistancesFromTheFramePointer) {
  expect_plain(cfi_pushed, FrameRule::Base::kStackPointer, 16, true);
  expect_plain(cfi_has_frame, FrameRule::Base::kFramePointer, 16, true);
  expect_plain(cfi_left, FrameRule::Base::kStackPointer, 8, false);
  expect_plain(cfi_frame_pointer_unchanged, FrameRule::Base::kStackPointer, 16, false);
  expect_plain(cfi_return_address_back, FrameRule::Base::kStackPointer, 24, false);
}

TEST_F(CfiTest, AllElseIsNotPlain) {
  for (const unsigned char* at : {cfi_by_another_register, cfi_frame_pointer_in_register, cfi_expression,
                                  cfi_frame_pointer_by_expression, cfi_return_address_elsewhere,
                                  cfi_outermost, cfi_in_signal_frame, cfi_without_table})
    EXPECT_FALSE(frame_rule(address(at)).plain) << at - cfi_frameless;
  for (const uint64_t nowhere : {uint64_t{0}, uint64_t{1}, UINT64_MAX, uint64_t{1} << 63})
    EXPECT_FALSE(frame_rule(nowhere).plain);
}

TEST_F(CfiTest, WhichCodeIsDescribed) {
  EXPECT_TRUE(has_unwind_table(address(cfi_entry)));
  EXPECT_TRUE(has_unwind_table(address(cfi_far)));
  EXPECT_FALSE(has_unwind_table(address(cfi_without_table)));
  EXPECT_FALSE(has_unwind_table(0));
  FunctionRange range;
  ASSERT_TRUE(find_function(main_module(), address(cfi_grown), range));
  EXPECT_EQ(range.start, address(cfi_frameless));
  EXPECT_EQ(range.end, address(cfi_far));
  EXPECT_FALSE(find_function(main_module(), 0, range));
  EXPECT_FALSE(find_function(main_module(), UINT64_MAX, range));
}

}  // namespace
}  // namespace asynctrace::agent
