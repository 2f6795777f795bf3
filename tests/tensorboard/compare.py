"""Compares the figures that TensorBoard reads of a run with those of its metrics.jsonl.

compare.py RUN_FOLDER   exit 1 where they differ; TensorBoard keeps figures as fp32
"""
import json
import pathlib
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def figures_of_lines(path):
    figures = {}
    for line in map(json.loads, open(path)):
        if line["event"] == "step":
            names = [f"train/{key}" for key in line if key not in ("event", "step")]
        elif line["event"] == "eval":
            names = ["eval/loss"]
        else:
            continue
        for name in names:
            value = line[name.split("/")[1]]
            if value is not None:
                figures[name, line["step"]] = numpy.float32(value)
    return figures


def figures_of_events(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    figures = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            assert (name, event.step) not in figures, f"{name} of step {event.step} is there twice"
            figures[name, event.step] = numpy.float32(event.value)
    return figures


def main():
    run = pathlib.Path(sys.argv[1])
    lines, events = figures_of_lines(run / "metrics.jsonl"), figures_of_events(run / "tensorboard")
    different = [key for key in sorted(lines | events) if lines.get(key) != events.get(key)]
    for name, step in different[:20]:
        print(f"{name}, step {step}: {lines.get((name, step))} in metrics.jsonl, {events.get((name, step))} in tensorboard")
    print(f"{len(lines)} figures, {len(different)} differ")
    return not lines or bool(different)


if __name__ == "__main__":
    sys.exit(main())
