"""What bench/programs_speed.py shows: a Markdown table, a line for each program, and what it all comes to."""
import math

from variants import COLD, COMPILERS, NATIVE, NO_OPENMP, WARM

SLOWER = 0.97   # below this a program has lost time
SOON_MS = 150.0  # from the sample that makes the first loop hot to its first pass elsewhere
LONG_S = 2.0    # programs above this must repay their compiling tenfold


def speedup(row, name):
    """How often faster than the plain build, or None where that cannot be said."""
    return row["variants"].get(name, {}).get("speedup")


def best_compiler(row):
    """(speedup, name) of the fastest of the four, or (None, "")."""
    found = [(speedup(row, v.name), v.name) for v in COMPILERS if speedup(row, v.name)]
    return max(found) if found else (None, "")


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def versus_best(row):
    """Ours, with a warm cache if measured, against the best compiler."""
    ours = speedup(row, WARM.name) or speedup(row, COLD.name)
    best, _ = best_compiler(row)
    return ours / best if ours and best else None


def cell(row, name):
    measured = row["variants"].get(name, {})
    if "speedup" in measured:
        return f"{measured['speedup']:.2f}x"
    return "FAILED" if "failure" in measured else "-"


def _columns(wanted):
    return [v.name for v in wanted if v is not NATIVE]


def _joined(first, cells):
    return f"| {first:18} | " + " | ".join(f"{c:>8}" for c in cells) + " |"


def head(wanted):
    cells = ["native", *_columns(wanted), "to best", "best"]
    return _joined("program", cells) + "\n|" + "-" * 20 + "|" + "|".join("-" * 9 + ":" for _ in cells) + "|"


def line(row, wanted):
    versus = versus_best(row)
    return _joined(row["program"], [f"{row['variants'][NATIVE.name]['median_s']:.2f} s",
                                    *(cell(row, name) for name in _columns(wanted)),
                                    f"{versus:.2f}x" if versus else "", best_compiler(row)[1]])


def summary(rows, wanted):
    result = {"geometric_mean": {}, "programs": {}, "below_native": {}, "compiling_above_tenth_of_saving": {}}
    for name in _columns(wanted):
        values = [speedup(row, name) for row in rows if speedup(row, name)]
        result["programs"][name] = len(values)
        result["geometric_mean"][name] = round(geometric_mean(values), 3) if values else None
        result["below_native"][name] = [row["program"] for row in rows if (speedup(row, name) or 1.0) < SLOWER]
    best = [best_compiler(row)[0] for row in rows if best_compiler(row)[0]]
    versus = [versus_best(row) for row in rows if versus_best(row)]
    result["geometric_mean"]["best compiler"] = round(geometric_mean(best), 3) if best else None
    result["geometric_mean"]["to best compiler"] = round(geometric_mean(versus), 3) if versus else None
    result["behind_best_compiler"] = [row["program"] for row in rows if (versus_best(row) or 1.0) < 1.0]
    for variant in (v for v in wanted if v.traced):
        result["compiling_above_tenth_of_saving"][variant.name] = [
            row["program"] for row in rows if _compiles_too_much(row, variant.name)]
        result[f"first_run_late_{variant.name}"] = {
            row["program"]: after for row in rows if (after := _heat_to_run(row, variant.name)) > SOON_MS}
        result[f"most_memory_added_mib_{variant.name}"] = max(
            (_memory_added(row, variant.name) for row in rows), default=0.0)
    return result


def _compiles_too_much(row, name):
    native_s, traced = row["variants"][NATIVE.name]["median_s"], row["variants"].get(name, {})
    if native_s <= LONG_S or "compile_ms" not in traced:
        return False
    return traced["compile_ms"] / 1000 > 0.1 * (native_s - traced["median_s"])


def _heat_to_run(row, name):
    return row["variants"].get(name, {}).get("heat_to_run_ms", 0.0)


def _memory_added(row, name):
    return row["variants"].get(name, {}).get("peak_mib", 0.0) - row["variants"][NATIVE.name]["peak_mib"]


def foot(rows, wanted, found):
    means = found["geometric_mean"]
    shown = [f"{means[name]:.2f}x" if means[name] else "" for name in (*_columns(wanted), "to best compiler")]
    lines = [_joined("geometric mean", ["", *shown, ""]), ""]
    if means["best compiler"]:
        lines.append(f"the best compiler for each program: {means['best compiler']:.2f}x")
    lines += [f"{v.name}: {v.meaning}; {found['programs'][v.name]} programs" for v in wanted if v is not NATIVE]
    for variant in (v for v in wanted if v.traced):
        for what, key in (("below native", "below_native"),
                          ("compiling takes over a tenth of the time saved", "compiling_above_tenth_of_saving")):
            lines.append(f"{variant.name}, {what}: {' '.join(found[key][variant.name]) or 'none'}")
        late = ", ".join(f"{program} {ms:.0f}" for program, ms in found[f"first_run_late_{variant.name}"].items())
        lines.append(f"{variant.name}, more than {SOON_MS:.0f} ms from heat to the first pass elsewhere: {late or 'none'}")
        lines.append(f"{variant.name}, most memory added: {found[f'most_memory_added_mib_{variant.name}']:.0f} MiB")
    if means["to best compiler"]:
        lines.append(f"behind the best compiler: {' '.join(found['behind_best_compiler']) or 'none'}")
    for row in rows:
        if row["gcc_strict"]:
            lines.append(f"{row['program']}, gcc for this machine: {' '.join(row['gcc_strict'])} to keep strict math")
        for name, measured in row["variants"].items():
            reason = measured.get("failure") or measured.get("absent")
            if reason and reason != NO_OPENMP:
                lines.append(f"{row['program']}, {name}: {reason.strip()}")
    return "\n".join(lines)


def regions(rows):
    """What became of the hottest loops, for whoever wants to make them faster."""
    lines = []
    for row in rows:
        traced = row["variants"].get(COLD.name) or row["variants"].get(WARM.name) or {}
        lines.append(f"\n{row['program']}: {row['variants'][NATIVE.name]['median_s']:.2f} s natively")
        lines += [f"  {region}" for region in traced.get("regions", ["no report"])]
    return "\n".join(lines)
