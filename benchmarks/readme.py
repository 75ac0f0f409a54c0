"""Writes the committed figures into the pages that state them, between markers. A test keeps the two equal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, console, read_result
from stprompt_edge.files import write_text_atomic

README = ROOT / "README.md"


def speed_table() -> str:
    """Literal against packed, and what that means in cameras."""
    speed = read_result("speed")
    literal, limits = speed["reference"]["p50_ms"], speed["limits"]
    rows = [("literal: frame and 49 windows, each resized and encoded alone, PyTorch fp32", literal)]
    for name, step in (
        ("packed, int8, all 49 windows: whole step", speed["watch_all"]),
        ("packed, int8, 12 windows picked by motion: whole step", speed["watch"]),
    ):
        rows.append((name, step["step"]["p50_ms"]))
    lines = [
        "| one sampled frame, ViT-B/16 | median ms | times faster |",
        "|---|--:|--:|",
        *(f"| {name} | {value:,.0f} | {literal / value:.0f} |" for name, value in rows),
        "",
        f"{machine_line(speed)}: {speed['sampled_frames_per_second']:.1f} sampled frames/s, which is "
        f"{speed['cameras']:.1f} cameras of 25 fps at stride {speed['stride']}. The step costs "
        f"{speed['ratios']['whole watch step / bare encoder']:.2f} times its bare encoder call. "
        f"This processor's own int8 products run at {limits['gmac_per_second']['int8']:.0f} G multiply-adds/s, "
        f"{limits['gmac_per_second']['int8'] / limits['gmac_per_second']['fp32']:.1f} times its fp32 ones, so no int8 "
        f"step can take less than {limits['least_ms']['watch_all']:.0f} and {limits['least_ms']['watch']:.0f} ms here. "
        "Measured by `make bench` (`benchmarks/results/speed.json`).",
    ]
    return "\n".join(lines)


def stage_table() -> str:
    """Every stage of the watch and locate steps."""
    speed = read_result("speed")
    watch, locate = speed["watch"], speed["locate"]
    stages = [stage for stage in locate if stage != "step"] + ["step"]
    lines = ["| stage | watch p50 / p95 / p99 ms | locate p50 / p95 / p99 ms |", "|---|--:|--:|"]
    lines += [f"| {stage} | {percentiles(watch.get(stage))} | {percentiles(locate[stage])} |" for stage in stages]
    memory = ", ".join(f"{run['peak_rss_mib']:.0f} MiB with `{run['options']}`" for run in speed["runs"])
    return "\n".join([*lines, "", f"Peak memory of the whole program: {memory}."])


def parity_table() -> str:
    """fp16 and cpu8 against fp32."""
    parity = read_result("parity")
    lines = ["| precision | footage | smallest cosine to fp32 | largest score difference |", "|---|---|--:|--:|"]
    lines += [
        f"| {row['precision']} | {row['source']} | {row['min_cosine']:.5f} | {row['max_score_difference']:.5f} |"
        for row in parity["rows"]
    ]
    return "\n".join(lines)


def outliers_table() -> str:
    """What outlier channels do to cpu8, and what the export does about it."""
    figures = read_result("outliers")
    names = {
        "none": "none",
        "norms": "behind layer norms",
        "mlp": "inside the MLPs",
        "values": "in the attention's values",
        "norms + mlp": "behind layer norms and inside the MLPs",
        "norms + mlp + values": "in all three places",
    }
    rows: dict[str, dict[str, str]] = {}
    for row in figures["rows"]:
        kept = f" ({row['float_products']} products in float)" if row["float_products"] else ""
        rows.setdefault(row["outliers"], {})[row["recipe"]] = f"{row['min_cosine']:.4f}{kept}"  # the last try stays
    lines = ["| outlier channels | plain dynamic int8 | as exported |", "|---|--:|--:|"]
    lines += [f"| {names.get(name, name)} | {tries['plain']} | {tries['smoothed']} |" for name, tries in rows.items()]
    return "\n".join(lines)


def int8_table() -> str:
    """Static int8 for TensorRT and fp16 against fp32."""
    figures = read_result("int8")
    lines = ["| precision | footage | smallest cosine to fp32 | largest score difference |", "|---|---|--:|--:|"]
    for row in figures["rows"]:
        seen = "" if row["calibrated_on"] or row["precision"] != "int8" else " (not calibrated on)"
        cells = f"{row['min_cosine']:.5f} | {row['max_score_difference']:.5f}"
        lines.append(f"| {row['precision']} | {row['source']}{seen} | {cells} |")
    kept = figures["layers_in_float"]
    told = "every one of" if kept == 0 else f"all but {kept} of"
    recipe = f"`--method {figures['method']}`, {figures['calibration_frames']} frames"
    summary = (
        f"ViT-B/16, weights {figures['weights']}; {recipe}: {told} the {figures['layers']} layers runs in int8 "
        "(`benchmarks/results/int8.json`). Trained weights have outliers; they have not been measured."
    )
    return "\n".join([*lines, "", summary])


def endurance_line() -> str:
    """Cost and memory over 30 minutes."""
    figures = read_result("endurance")
    memory = figures["rss_mib"]
    return (
        f"Over {figures['minutes']} minutes of video ({figures['steps']:,} steps) the median step of the last tenth "
        f"took {figures['last_over_first']:.2f} times that of the first tenth, and memory went from "
        f"{memory['after the first tenth']:.0f} to {memory['at the end']:.0f} MiB."
    )


def demo_table() -> str:
    """What the packaged bundle reaches on rendered test videos."""
    demo, wanted = read_result("demo"), {"frame AUC": 0.90, "TIoU": 0.25}
    seconds = demo["median_seconds_to_alarm"]
    rows = [
        ("frame AUC", f"{demo['frame_auc']:.3f}", f"{wanted['frame AUC']:.2f}"),
        ("frame AP", f"{demo['frame_ap']:.3f}", ""),
        ("TIoU", f"{demo['tiou']:.3f}", f"{wanted['TIoU']:.2f}"),
        ("anomalies alarmed", f"{demo['detected']} of {demo['detected'] + demo['missed']}", ""),
        ("median seconds to the alarm", "over half missed" if seconds is None else f"{seconds:.1f}", "3"),
        (f"false alarms in {60 * demo['dataset']['normal_hours']:.0f} minutes", str(demo["false_alarms"]), "0"),
    ]
    lines = [
        "| figure | measured | aim |",
        "|---|--:|--:|",
        *(f"| {name} | {got} | {aim} |" for name, got, aim in rows),
    ]
    classes = ", ".join(f"{name} {value:.2f}" for name, value in demo["class_auc"].items())
    return "\n".join([*lines, "", f"Frame AUC by class: {classes} (`benchmarks/results/demo.json`)."])


def real_table() -> str:
    """STPrompt against the ranking method on equal features."""
    figures = read_result("real")
    lines = [
        "| data set | features | method | frame AUC % | AP % | TIoU % | video AUC % | to ranking |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for one in figures["measurements"]:
        for row in one["rows"]:
            cells = [with_deviation(row.get(name)) for name in ("auc", "ap", "tiou", "video_auc")]
            cells.append(with_error(one["difference"]) if row["method"] == "stprompt" else "")
            subject = f"{DATASETS[one['dataset']]} | {ENCODERS[one['encoder']]} | {row['method']}"
            lines.append(f"| {subject} | {' | '.join(cells)} |")
    note = (
        "Mean ± standard deviation over repeats. To ranking: difference in frame AUC, of `surv_fight` in video AUC, on "
        "equal seeds and divisions, ± its standard error (`benchmarks/results/real.json`)."
    )
    return "\n".join([*lines, "", note])


def ablation_tables() -> str:
    """Branches, spatial aggregation, temporal part, and scales of motion."""
    figures = read_result("ablation")
    blocks = []
    columns = [f"{DATASETS[name]}: AUC % | AP % | to shipped" for name in figures["repeats"]]
    for table, heading in ABLATIONS.items():
        lines = [f"| {' | '.join([heading, *columns])} |", "|---|" + "--:|--:|--:|" * len(columns)]
        for row in figures["tables"][table]:
            cells = (cell for name in figures["repeats"] for cell in ablation_cells(row[name]))
            lines.append(f"| {row['name']} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    repeats = ", ".join(f"{count} of {DATASETS[name]}" for name, count in figures["repeats"].items())
    blocks.append(
        f"Frame AUC and AP: mean ± standard deviation over repeats ({repeats}). To shipped: difference in AUC to the "
        "shipped method on equal seeds and divisions, ± its standard error (`benchmarks/results/ablation.json`)."
    )
    return "\n\n".join(blocks)


def ablation_cells(figures: dict[str, Any]) -> list[str]:
    """AUC, AP and the difference to the shipped method, in percent; no difference to itself."""
    difference = figures["to_full"]
    own = difference["mean"] == difference["standard_error"] == 0
    return [with_deviation(figures["auc"]), with_deviation(figures["ap"]), "" if own else with_error(difference)]


def with_deviation(figure: dict[str, float] | None) -> str:
    """`mean ± deviation` in percent, or nothing."""
    return f"{100 * figure['mean']:.1f} ± {100 * figure['std']:.1f}" if figure else ""


def with_error(difference: dict[str, float]) -> str:
    """`mean ± standard error` of a paired difference in percent points."""
    return f"{100 * difference['mean']:+.1f} ± {100 * difference['standard_error']:.1f}"


def machine_line(result: dict[str, Any]) -> str:
    """The processor that a result was measured on."""
    machine = result["machine"]
    return f"{machine['cores']} cores of {machine['processor']} (int8 instructions: {machine['int8 instructions']})"


def percentiles(latency: dict[str, float] | None) -> str:
    """`p50 / p95 / p99`, or nothing for a stage that the step does not have."""
    return " / ".join(f"{latency[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms")) if latency else ""


DATASETS = {"scenes": "rendered scenes", "ped2": "UCSD Ped2", "surv_fight": "surv_fight"}
ENCODERS = {"demo": "demo encoder", "vit-b-16-seeded": "ViT-B/16, random weights"}
ABLATIONS = {
    "branches": "trained with",
    "spatial": "spatial aggregation",
    "temporal": "temporal part",
    "motion": "motion in SA²",
}


def precisions_table() -> str:
    """AUC of each precision."""
    figures = read_result("precisions")
    lines = [
        "| data set | precision | frame AUC % | to fp32 | allowed | largest score difference |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in figures["rows"]:
        difference = f"{100 * row['difference']:+.2f}" if row["budget"] else ""
        allowed = f"{100 * row['budget']:.1f}" if row["budget"] else ""
        cells = [DATASETS[row["dataset"]], row["precision"], f"{100 * row['auc']:.2f}", difference, allowed]
        lines.append(f"| {' | '.join(cells)} | {row['score']:.4f} |")
    return "\n".join([*lines, "", "In percent points of AUC (`benchmarks/results/precisions.json`)."])


Sections = dict[str, Callable[[], str]]
README_SECTIONS: Sections = {
    "demo": demo_table,
    "speed": speed_table,
    "stages": stage_table,
    "parity": parity_table,
    "outliers": outliers_table,
    "int8": int8_table,
    "endurance": endurance_line,
}
RESULTS_SECTIONS: Sections = {"real": real_table, "ablation": ablation_tables, "precisions": precisions_table}
PAGES: dict[Path, Sections] = {README: README_SECTIONS, ROOT / "docs" / "results.md": RESULTS_SECTIONS}


def render(page: Path, text: str) -> str:
    """A page with every marked section made anew; a benchmark that has no result yet is said to have none.

    Raises:
        ValueError: if a marker is missing.
    """
    for name, section in PAGES[page].items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page.name} has no section <!-- {name} -->")
        try:
            content = section()
        except FileNotFoundError:
            content = f"Not measured yet: run `python -m benchmarks.{name}`."
        text = pattern.sub(lambda match, content=content: match[1] + content + "\n" + match[2], text)
    return text


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        write_text_atomic(page, render(page, page.read_text(encoding="utf-8")))
        console.print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
