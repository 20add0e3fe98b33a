// Libraries that come and go while the program runs. dlopen itself cannot be interposed: it looks at its
// caller's RUNPATH. So the loader's list is looked at again where a program goes on after it: at dlsym and
// dlclose, and at pthread_create and epoll_create, with which a runtime begins.
#pragma once

namespace asynctrace::agent {

// What has been there all along was looked over; false: no runtime was in it. From the constructor, as its
// last step.
void start_late_modules(bool is_tracing);

enum class Stage { kNotBegun, kNothingFound, kStarting, kTracing, kFailed };
Stage stage();

// For `asynctrace attach` and `detach`. Calls `function` while no other thread is at the tables of modules
// and slots and no module can come or go. False: another one is at them, and nothing was called.
bool alone_with_modules(void (*function)(void* data), void* data);

// Inside of that: forgets what has gone, and looks over what has come.
void refresh();
// The import slots of every module, where the loader has not bound them to the agent.
void redirect_all();

}  // namespace asynctrace::agent

extern "C" {
// Interposed dlsym is an entry point in <arch>_dlsym.S, for the real one looks at its return address. Gives
// the address of that one.
void* asynctrace_before_dlsym();
}
