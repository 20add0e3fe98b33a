/* Preloaded into asynctrace: ends it by SIGKILL after its N-th call that changes another process; KILL_AT is N.
 * So its death is tried at each of its steps, and none of them has to know of that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static void step_done(void) {
  static long steps;
  const char *last = getenv("KILL_AT");
  if (last != NULL && ++steps == atol(last)) kill(getpid(), SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

long ptrace(enum __ptrace_request request, ...) {
  va_list list;
  va_start(list, request);
  pid_t pid = va_arg(list, pid_t);
  void *address = va_arg(list, void *);
  void *data = va_arg(list, void *);
  va_end(list);
  long result = REAL(ptrace)(request, pid, address, data);
  if (request != PTRACE_GETREGSET && request != PTRACE_GETSIGMASK) step_done();
  return result;
}

ssize_t process_vm_writev(pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote,
                          unsigned long remotes, unsigned long flags) {
  ssize_t result = REAL(process_vm_writev)(pid, local, locals, remote, remotes, flags);
  step_done();
  return result;
}
