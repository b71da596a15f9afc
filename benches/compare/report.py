#!/usr/bin/env python3
"""Tables (Markdown) and charts (SVG) of the measurements. Run as a program, it writes them again."""
import json
import platform
from pathlib import Path

import charts
import harness

CELLS = {
    "plain": "GET, no policy",
    "guarded-1": "Guarded GET, 1 key",
    "guarded-10k": "Guarded GET, 10,000 keys, all used in turn",
    "guarded-100k": "Guarded GET, 100,000 keys, all used in turn",
    "reject": "Flood of requests beyond the limit: 100 keys of 10,000, one request a second allowed",
    "badkey": "Flood of unknown keys, 10,000 known",
    "post": "Guarded POST of 64 KiB, 10,000 keys",
}
PROTOCOLS = {"h1": "HTTP/1.1", "h2": "HTTP/2"}


def values(records, *path):
    found = []
    for record in records:
        for name in path:
            record = record[name]
        found.append(record)
    return found


def least(records, *path):
    """Returns the least value: other load on a shared machine only adds."""
    return min(values(records, *path))


def spread(records):
    values = [record["full"]["cpu_per_million"] for record in records]
    return (max(values) - min(values)) / 2


def table(head, rows):
    line = lambda cells: "| " + " | ".join(str(cell) for cell in cells) + " |"
    return [line(head), "|---|" + "---:|" * (len(head) - 1), *map(line, rows), ""]


def processor():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{len(names)} × {names[0]}, Linux {platform.release().split('-')[0]}" if names else platform.machine()


def bars(path, values):
    drawing = charts.Drawing()
    for name, of in values.items():
        rows = sorted(of.items(), key=lambda row: row[1])
        drawing.bars(CELLS[name], [(peer, value, peer.startswith("portcullis")) for peer, value in rows])
    drawing.write(path)


def comparison(records, folder):
    folder.mkdir(parents=True, exist_ok=True)
    cells = {}
    for record in records:
        place = cells.setdefault((record["cell"], record["protocol"]), {})
        place.setdefault(record["peer"], []).append(record)
    cost = {place: {peer: least(good, "full", "cpu_per_million") for peer, every in peers.items()
                    if (good := [one for one in every if "full" in one])} for place, peers in cells.items()}
    rounds = max(record["round"] for record in records)
    text = ["# The comparison", "", f"The least of {rounds} interleaved round{'s' * (rounds > 1)} on {processor()}: other load on a "
            "shared machine only adds. For the method, see [gateway.md](gateway.md). Written by `make compare`.", ""]
    for protocol, spoken in PROTOCOLS.items():
        names = [name for name in CELLS if cost.get((name, protocol))]
        if not names:
            continue
        peers = list(dict.fromkeys(peer for name in names for peer in cells[name, protocol]))
        text += [f"## {spoken}: CPU seconds per million requests", "", f"![{spoken}](comparison-{protocol}.svg)", ""]
        text += table(["gateway", *names], [
            [peer, *(f"{cost[name, protocol][peer]:,.1f}" if peer in cost[name, protocol] else "–" for name in names)]
            for peer in peers])
        bars(folder / f"comparison-{protocol}.svg", {name: cost[name, protocol] for name in names})
        text += [f"## {spoken}: p99 at half load, in µs", "", f"![{spoken}, p99](latency-{protocol}.svg)", ""]
        bars(folder / f"latency-{protocol}.svg", {name: {
            peer: least([one for one in cells[name, protocol][peer] if "half" in one], "half", "p99_us")
            for peer in cost[name, protocol]} for name in names})
    text += ["## Each load", ""]
    for (name, protocol), peers in sorted(cells.items(), key=lambda it: (list(CELLS).index(it[0][0]), it[0][1])):
        text += [f"### {CELLS[name]}, {PROTOCOLS[protocol]}", ""]
        rows, notes = [], []
        for peer in sorted(peers, key=lambda peer: cost[name, protocol].get(peer, 0)):
            good = [one for one in peers[peer] if "full" in one]
            bad = [one["why"] for one in peers[peer] if "why" in one]
            notes += [f"{peer}: {bad[-1]}."] if bad else []
            if not good:
                continue
            of = lambda *path: least(good, *path)
            rows.append([
                peer, f"{cost[name, protocol][peer]:,.1f} ± {spread(good):,.1f}",
                f"{of('half', 'cpu_per_million'):,.1f}", f"{max(values(good, 'full', 'per_second')):,.0f}",
                f"{max(values(good, 'rate')):,.0f}", f"{of('half', 'p50_us'):,.0f}", f"{of('half', 'p99_us'):,.0f}",
                f"{max(values(good, 'memory')):,.0f}", f"{of('wanted'):.1f}",
                f"{max(values(good, 'full', 'gateway_busy')):.0f} / {of('full', 'others_busy'):.0f}"])
        text += table(["gateway", "CPU s/M", "at half load", "requests/s", "half load /s", "p50 µs", "p99 µs",
                       "RSS MiB", "as wanted %", "core: own / others %"], rows)
        text += [*notes, ""] if notes else []
    (folder / "comparison.md").write_text("\n".join(text).rstrip() + "\n")
    print(f"written: {folder / 'comparison.md'}")


def growth(records, starts, folder):
    """Writes the report from records of quantity, series, amount and cost."""
    folder.mkdir(parents=True, exist_ok=True)
    charted, drawing = {}, charts.Drawing()
    for record in records:
        name = PROTOCOLS.get(record["series"], record["series"])
        series = charted.setdefault(record["what"], {}).setdefault(name, {})
        series.setdefault(record["count"], []).append(record)
    text = ["# How the cost grows", "", f"CPU seconds of our gateway per million requests, the least of all rounds, on {processor()}. "
            "For the method, see [gateway.md](gateway.md). Written by `make growth`.", "",
            "![How the cost grows](growth.svg)", ""]
    for what, series in charted.items():
        lines = {name: [(count, least(good, "full", "cpu_per_million")) for count, good in points.items()]
                 for name, points in series.items()}
        logarithmic = what not in ("policies", "bytes of content")
        drawing.lines(f"By {what}", "CPU s per million requests", lines, logarithmic=logarithmic)
        counts = list(dict.fromkeys(count for points in lines.values() for count, _ in points))
        text += [f"## By {what}", ""]
        text += table([what, *lines], [
            [f"{count:,}", *(f"{dict(points).get(count, float('nan')):,.1f}" for points in lines.values())]
            for count in counts])
    if starts:
        drawing.lines("Start, by keys in the store", "seconds until ready",
                      {"seconds": [(one["keys"], one["seconds"]) for one in starts]})
        drawing.lines("Memory, by keys in the store", "MiB",
                      {"at most": [(one["keys"], one["peak"]) for one in starts],
                       "then": [(one["keys"], one["after"]) for one in starts]})
        text += ["## Start, by keys in the store", ""]
        text += table(["keys", "seconds until ready", "MiB at most", "MiB then", "bytes a key then", "store MiB"], [
            [f"{one['keys']:,}", f"{one['seconds']:.2f}", f"{one['peak']:,.0f}", f"{one['after']:,.0f}",
             f"{(one['after'] - starts[0]['after']) * 2**20 / one['keys']:,.0f}" if one is not starts[0] else "–",
             f"{one['store']:,.0f}"] for one in starts])
    drawing.write(folder / "growth.svg")
    (folder / "growth.md").write_text("\n".join(text).rstrip() + "\n")
    print(f"written: {folder / 'growth.md'}")


if __name__ == "__main__":
    results = Path(harness.option("COMPARE_RESULTS", harness.COMPARE / "results"))
    for name, write in (("comparison", comparison), ("growth", lambda made, to: growth(**made, folder=to))):
        if (made := harness.COMPARE / f"{name}.json").exists():
            write(json.loads(made.read_text()), results)
