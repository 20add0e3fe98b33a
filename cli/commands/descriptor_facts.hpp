// What the watchers of poll loops wait for, asked from outside the living process.
#pragma once

#include <map>

#include "cli/descriptors/descriptors.hpp"
#include "cli/process/traced_process.hpp"
#include "cli/snapshot.hpp"

namespace asynctrace {

// Fills Snapshot::descriptors, or says why they are not known. What it has found out, by number.
std::map<int, DescriptorFacts> add_descriptors(const TracedProcess& process, Snapshot& snapshot);

// Fills Snapshot::unserved. Returns at once where no descriptor is ready for its watcher and no timer is late;
// else it looks again and again, until all have been served or a second is over. They count only where their
// loop could have served them: it sleeps, it has turned, or it is in one callback all the time.
void add_unserved(const TracedProcess& process, const std::map<int, DescriptorFacts>& descriptors,
                  Snapshot& snapshot);

}  // namespace asynctrace
