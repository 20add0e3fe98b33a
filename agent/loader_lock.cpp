#include "agent/loader_lock.hpp"

#include "agent/interpose.hpp"

namespace asynctrace::agent {
namespace {

void (*g_function)(void* data) = nullptr;
void* g_data = nullptr;

}  // namespace

void with_loader_lock(void (*function)(void* data), void* data) {
  g_function = function;
  g_data = data;
  real_dlsym()(RTLD_DEFAULT, "asynctrace_under_loader_lock");
  g_function = nullptr;
}

}  // namespace asynctrace::agent

void* asynctrace_act_under_loader_lock() {
  using namespace asynctrace::agent;
  if (g_function != nullptr) g_function(g_data);
  return reinterpret_cast<void*>(&asynctrace_act_under_loader_lock);
}
