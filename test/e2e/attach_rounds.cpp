// attach_rounds PID AGENT DIRECTORY ROUNDS: attaches and detaches so often, and prints for how long a thread
// was held in the median round. What the two commands do, without the start of a command for each.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cli/attach/attach.hpp"

using namespace asynctrace;

int main(int count, char** arguments) {
  if (count != 5) return 2;
  const AttachSettings settings{arguments[2], arguments[3], 64 << 20};
  const auto process = PinnedProcess::pin(std::atoi(arguments[1]));
  std::vector<std::chrono::nanoseconds> held;
  for (int left = process ? std::atoi(arguments[4]) : 0; left > 0; --left) {
    const auto came = attach_process(*process, settings);
    const auto went = came ? detach_process(*process, settings) : came;
    if (!went) {
      std::fprintf(stderr, "%s, %d rounds before the end\n", went.error().message.c_str(), left);
      return 1;
    }
    held.push_back(came->held);
  }
  if (held.empty()) return 1;
  std::ranges::nth_element(held, held.begin() + static_cast<ptrdiff_t>(held.size() / 2));
  std::printf("%zu %.3f\n", held.size(), static_cast<double>(held[held.size() / 2].count()) / 1e6);
}
