// Records of long runs: what was run, where, on which source, and what came out, as JSON. Those worth keeping lie in
// tests/records.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace tracelift::jit {

using RunRecord = nlohmann::ordered_json;

/// "program --option value": what repeats the run.
std::string CommandLine(int argc, char** argv);

/// A record with what all of them begin with: command, seed, commit, machine.
RunRecord NewRecord(const std::string& command, uint64_t seed);

/// False, with a message to stderr, when it cannot be written. Does nothing for an empty path.
bool WriteRecord(const RunRecord& record, const std::string& path);

}  // namespace tracelift::jit
