// How a frame is called on the screen, and what its names tell. Pure functions of their arguments.
#pragma once

#include <string>
#include <string_view>

#include "cli/symbols/symbolizer.hpp"

namespace asynctrace {

// Without the hash of legacy mangling and the suffixes that optimizers append.
std::string_view plain_function(std::string_view function);

// The path without generic arguments: "<a::B<C> as d::E<F>>::g::<H>" -> "<a::B as d::E>::g". Tables match on
// this, so that a type argument is never taken for the function itself.
std::string without_generics(std::string_view function);

// The body of an async fn, block or closure, as debug info names it. Such a body is suspended at one await.
bool is_async_body(std::string_view debug_name);

// "async fn shop::checkout", "async block in shop::main", else the function as it is; "module+0x1234" where
// even that is unknown.
std::string display_name(const Frame& frame, std::string_view module_path);

// "src/cart.rs:88:14"; "" where file or line are unknown. `file`: the frame's, as it is called here.
std::string display_position(const Frame& frame, std::string_view file, std::string_view root);

}  // namespace asynctrace
