"""What bench/gpu_speed.py shows: a Markdown table, whether each case reached what was aimed at, and what did not count."""
from gpu_cases import FULL, TINY

NATIVE, CPU, DEVICE, BOTH, CUDA, VENDOR = "native", "cpu", "gpu", "cpu,gpu", "cuda", "cublas"
MEANINGS = {NATIVE: "gcc -O2, one core", CPU: "tracelift run --devices cpu", DEVICE: "tracelift run --devices gpu",
            BOTH: "tracelift run --devices cpu,gpu", CUDA: "the same program in CUDA by hand", VENDOR: "the product by cuBLAS"}
TRACED = (CPU, DEVICE, BOTH)
MOST_TO_CUDA = 2.0       # times what the hand-written version takes
LEAST_SHARE = 0.6        # of the bandwidth of a copy on the device
HOME = {DEVICE: " home", BOTH: " cores"}  # no loop ran on the device
COLUMNS = ("native", "cpu", "gpu", "cpu,gpu", "CUDA", "its device", "cuBLAS", "to CUDA", "bandwidth", "CUDA's")


def seconds(row, name):
    """The median, or None where there is none that counts."""
    found = row["variants"].get(name, {})
    return None if "failure" in found else found.get("median_s")


def speedup(row, name):
    """(how often faster than natively, whether that is only the least it can be: natively it was not waited for)."""
    spent, native = seconds(row, name), row["variants"][NATIVE]
    if not spent:
        return None, False
    return (native["at_least_s"] / spent, True) if "at_least_s" in native else (native["median_s"] / spent, False)


def verdicts(row):
    """By target: {"value", "wanted", "passed"}; passed is None where it cannot be said or is not meant: gains over native
    runs are for full sizes."""
    found = {}
    if row["target"]:
        value, at_least = speedup(row, DEVICE)
        passed = None if value is None else value >= row["target"] or (None if at_least else False)
        found["to native"] = {"value": value, "wanted": f">= {row['target']}x", "passed": passed}
    spent, by_hand = seconds(row, DEVICE), seconds(row, CUDA)
    value = spent / by_hand if spent and by_hand else None
    found["to CUDA"] = {"value": value, "wanted": f"<= {MOST_TO_CUDA:g}x",
                        "passed": None if value is None else value <= MOST_TO_CUDA}
    if row["kind"] == "stream":
        value = share(row, DEVICE)
        found["bandwidth"] = {"value": value, "wanted": f">= {LEAST_SHARE:.0%} of a device copy",
                              "passed": None if value is None else value >= LEAST_SHARE}
    for verdict in found.values():
        verdict["value"] = round(verdict["value"], 3) if verdict["value"] is not None else None
    for name, verdict in found.items():
        if row["size"] == TINY or (row["size"] != FULL and name == "to native"):
            verdict["passed"] = None
    return found


def share(row, name):
    """Of the bandwidth of a copy on the device, that which rounds of this variant come to."""
    return row.get("rounds", {}).get(name, {}).get("share_of_device_copy")


def _verdict(row, name, form):
    verdict = row["verdicts"].get(name)
    if not verdict or verdict["value"] is None:
        return "?" if verdict else ""
    return form(verdict["value"]) + _mark(verdict)


def _mark(verdict):
    return {True: " pass", False: " FAIL", None: ""}[verdict["passed"]] if verdict else ""


def _times(row, name):
    found = row["variants"].get(name, {})
    if "failure" in found:
        return "FAILED"
    value, at_least = speedup(row, name)
    home = HOME.get(name, "") if found.get("on_device") is False else ""
    mark = _mark(row["verdicts"].get("to native")) if name == DEVICE else ""
    return f"{'> ' if at_least else ''}{value:.1f}x{home}{mark}" if value else "-"


def _native(row):
    found = row["variants"][NATIVE]
    return f"> {found['at_least_s']:.0f} s" if "at_least_s" in found else f"{found['median_s']:.2f} s"


def _percent(value):
    return "" if value is None else f"{value:.0%}"


def line(row):
    parts = row["variants"].get(CUDA, {}).get("parts_ms")
    cells = [_native(row), *(_times(row, name) for name in (CPU, DEVICE, BOTH, CUDA)),
             f"{sum(parts.values()):.0f} ms" if parts else "-", _times(row, VENDOR) if VENDOR in row["variants"] else "",
             _verdict(row, "to CUDA", "{:.2f}x".format),
             _verdict(row, "bandwidth", _percent) or _percent(share(row, DEVICE)), _percent(share(row, CUDA))]
    return _joined(row["case"], cells)


def _joined(first, cells):
    return f"| {first:16} | " + " | ".join(f"{cell:>11}" for cell in cells) + " |"


def head():
    return _joined("case", COLUMNS) + "\n|" + "-" * 18 + "|" + "|".join("-" * 12 + ":" for _ in COLUMNS) + "|"


def foot(rows):
    lines = [f"{name}: {meaning}" for name, meaning in MEANINGS.items()]
    lines += ["all times of whole processes; x: times as fast as natively, of which gpu should reach 30 at computing, 20 at stencils",
              "home, cores: no loop ran on the device",
              "its device: kernels and transfers of the CUDA version, by events",
              f"to CUDA: whole process under gpu over CUDA's, at most {MOST_TO_CUDA:g}x",
              f"bandwidth: of a round of the loop under gpu, and CUDA's; at least {LEAST_SHARE:.0%} of a copy on the device"]
    for row in rows:
        lines += [f"{row['case']}: {note}" for note in row.get("notes", [])]
        for name, found in row["variants"].items():
            if reason := found.get("failure"):
                lines.append(f"{row['case']}, {name}: {reason}")
            if reason := found.get("absent"):
                lines.append(f"{row['case']}, {name}: skipped: {reason}")
    missed = [f"{row['case']} ({name})" for row in rows for name, verdict in row["verdicts"].items()
              if verdict["passed"] is False]
    lines.append(f"targets missed: {', '.join(missed) or 'none'}")
    return "\n".join(lines)


def regions(rows):
    """What became of the hottest loops on the device."""
    lines = []
    for row in rows:
        for name in (DEVICE, BOTH):
            lines.append(f"\n{row['case']}, {name}")
            lines += [f"  {region}" for region in row["variants"].get(name, {}).get("regions", ["no report"])]
    return "\n".join(lines)
