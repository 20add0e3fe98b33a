// The arguments of templates, in the names of C++ types as demanglers write them. Views into what is given.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace asynctrace {

// Of "a::b<X, Y<Z>>::c": "X, Y<Z>" for the position of the first '<'. "": none end there.
std::string_view arguments_at(std::string_view text, size_t open);

// "X" and "Y<Z>" of that.
std::vector<std::string_view> split_arguments(std::string_view arguments);

}  // namespace asynctrace
