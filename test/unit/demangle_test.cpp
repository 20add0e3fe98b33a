// Linkage names as compilers wrote them, and what must be shown for them.
#include "cli/symbols/demangle.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace asynctrace {
namespace {

TEST(Demangle, RustAndCppNames) {
  const std::pair<const char*, const char*> table[] = {
      // Rust, legacy
      {"_ZN2t15joins28_$u7b$$u7b$closure$u7d$$u7d$17h25c7d2af286a01e6E", "t1::joins::{{closure}}"},
      {"_ZN62_$LT$$RF$mut$u20$F$u20$as$u20$core..future..future..Future$GT$4poll17h23c2ee76417dca61E",
       "<&mut F as core::future::future::Future>::poll"},
      {"_ZN97_$LT$core..future..from_generator..GenFuture$LT$T$GT$$u20$as$u20$core..future..future..Future$"
       "GT$"
       "4poll17h540e4afdbb744b7eE.llvm.14033236432030592649",
       "<core::future::from_generator::GenFuture<T> as core::future::future::Future>::poll"},
      // Rust, v0
      {"_RNvC6_123foo3bar", "123foo::bar"},
      {"_RNvC6_123foo3bar.llvm.9D1C9369", "123foo::bar"},
      {"_RINvNtCsgEmfK2I1SDS_4core9panicking13assert_failedjjEB4_",
       "core::panicking::assert_failed::<usize, usize>"},
      {"_RINvMs4_NtCsgY6Mt91CT9J_14rustc_demangle2v0NtB6_7Printer9in_binderNCNvB2_10print_type0EB8_",
       "<rustc_demangle::v0::Printer>::in_binder::<<rustc_demangle::v0::Printer>::print_type::{closure#0}>"},
      {"_RNvXs_NvMs_NtNtCslNYArtu3iFV_5alloc3ffi5c_strNtB9_7CString3newRShNtB4_11SpecNewImpl13spec_new_impl",
       "<&[u8] as <alloc::ffi::c_str::CString>::new::SpecNewImpl>::spec_new_impl"},
      // C++
      {"_ZN3fooL3barEi", "foo::bar(int)"},
      {"_Z3maxIiET_S0_S0_.llvm.123", "max<int>(int, int)"},
      {"_ZNSt6vectorIiSaIiEE9push_backERKi.part.0.cold",
       "std::vector<int, std::allocator<int> >::push_back(int const&)"},
      // C++ coroutines: gcc's body, clang's; inside a template, a lambda
      {"_ZN4shop3rowEPZNS_3rowEiE20_ZN4shop3rowEi.Frame.actor", "shop::row(int)"},
      {"_ZN4shop3rowEi.resume", "shop::row(int)"},
      {"_ZN4shop5queryEPZNS_5queryIiEE4taskT_E31_ZN4shop5queryIiEE4taskT_.Frame.actor.cold",
       "shop::query<int>(int)"},
      {"_ZZN4shop5queryIiEE4taskT_ENUlvE_clEPZZNS0_IiEES1_S2_ENKS3_clEvE44_ZZN4shop5queryIiEE4taskT_ENKUlvE_"
       "clEv.Frame."
       "actor",
       "shop::query<int>(int)::{lambda()#1}::operator()() const"},
      // not mangled
      {"main", "main"},
      {"i", "i"},
      {"runtime.gopark", "runtime.gopark"},
      {"helper.llvm.77", "helper"},
      {"_Znot a name", "_Znot a name"},
      {"", ""},
  };
  for (const auto& [raw, shown] : table) EXPECT_EQ(demangle(raw), shown) << raw;
  // A length that would begin before the name.
  const std::string broken = "_ZN_Z" + std::string(1000, 'a') + ".Frame";
  EXPECT_EQ(demangle(broken), broken);
}

}  // namespace
}  // namespace asynctrace
