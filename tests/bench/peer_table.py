"""Runs nemo-cpp and PyTorch in turns on the same recipes and prints what they take, as Markdown.

peer_table.py NEMO_CPP [--rounds N] [--steps N] [RECIPE...]

Every run is a process of its own that prints a line at the end of each step; times are taken here,
from its start and between its lines, so they hold everything a user waits for and mean the same for
all. A run's step is the median of its steps but the first; a row shows the medians over the rounds,
and the ratio to nemo-cpp is the median of the rounds' ratios, because what disturbs the machine
disturbs neighbours alike.
"""
import argparse
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

import yaml

PEER = os.path.join(os.path.dirname(__file__), "peer_step.py")
# malloc keeps freed memory, instead of taking every large tensor anew from the kernel.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
PRECISIONS = {"fp32": "32", "bf16": "bf16-mixed"}


@dataclasses.dataclass
class Contestant:
    name: str
    command: list
    environment: dict = dataclasses.field(default_factory=dict)
    runs: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Run:
    to_first_step: float  # seconds since the process was started
    steps: list  # seconds of each later one
    peak_memory: int  # bytes resident
    first_loss: float

    @property
    def step(self):
        return statistics.median(self.steps)


def measure(contestant):
    """One run to its end. Loss and time come from its lines `step 1 … loss 8.4 …`."""
    with tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(contestant.command, stdout=subprocess.PIPE, stderr=errors, text=True,
                                   env=os.environ | contestant.environment)
        ends, losses = [], []
        for line in process.stdout:
            if step := re.match(r"step \d+.*?loss (\S+)", line):
                ends.append(time.monotonic())
                losses.append(float(step[1]))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode or len(ends) < 2:
            sys.exit(f"error: {' '.join(contestant.command)}: exit {process.returncode}\n{errors.read()}")
    steps = [end - begin for begin, end in zip(ends, ends[1:])]
    return Run(ends[0] - began, steps, usage.ru_maxrss * 1024, losses[0])


def plan_of(nemo_cpp, recipe, precision):
    """The document of a dry run, text and parsed."""
    text = subprocess.run([nemo_cpp, "pretrain", "--recipe", recipe, "--dry-run",
                           f"trainer.precision={PRECISIONS[precision]}"], capture_output=True, text=True, check=True).stdout
    return text, yaml.safe_load(text)


def contestants_of(nemo_cpp, recipe, precision, num_steps, folder):
    text, plan = plan_of(nemo_cpp, recipe, precision)
    if not plan["not_runnable"]:
        yield Contestant("nemo-cpp", [nemo_cpp, "pretrain", "--recipe", recipe, f"log.dir={folder}/run",
                                      f"trainer.precision={PRECISIONS[precision]}", f"trainer.max_steps={num_steps}"])
    path = f"{folder}/{precision}.yaml"
    with open(path, "w") as file:
        file.write(text)
    for mode in ("eager", "compiled"):
        environment = KEEP_MEMORY | {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        yield Contestant(f"PyTorch {mode}", [sys.executable, PEER, path, precision, mode, str(num_steps)], environment)


def check_same_work(contestants):
    """Fresh models of the same sizes have the same loss within what their random weights differ."""
    losses = {c.name: c.runs[0].first_loss for c in contestants}
    if max(losses.values()) > 1.02 * min(losses.values()):
        sys.exit(f"error: these are not the same models: the losses of step 1 are {losses}")


def row_of(contestant, ours, num_tokens):
    runs, median = contestant.runs, statistics.median
    step = median(run.step for run in runs)
    all_steps = [seconds for run in runs for seconds in run.steps]
    ratio = "–"
    if ours and ours is not contestant:
        ratio = f"{median(theirs.step / mine.step for theirs, mine in zip(runs, ours.runs)):.2f}"
    return (f"| {contestant.name} | {step * 1e3:.0f} ({min(all_steps) * 1e3:.0f} … {max(all_steps) * 1e3:.0f}) "
            f"| {num_tokens / step:.0f} | {ratio} "
            f"| {median(run.to_first_step for run in runs):.2f} ({runs[0].to_first_step:.2f}) "
            f"| {median(run.peak_memory for run in runs) * 1e-6:.0f} |")


def compare(nemo_cpp, recipe, num_rounds, num_steps):
    with tempfile.TemporaryDirectory() as folder:
        groups = {p: list(contestants_of(nemo_cpp, recipe, p, num_steps, folder)) for p in PRECISIONS}
        everyone = sum(groups.values(), [])
        for number in range(num_rounds):
            for contestant in everyone:
                print(f"round {number + 1} of {num_rounds}: {recipe}, {contestant.name}", file=sys.stderr)
                contestant.runs.append(measure(contestant))
        check_same_work(everyone)
    _, plan = plan_of(nemo_cpp, recipe, "fp32")
    model, data = plan["recipe"]["model"], plan["recipe"]["data"]
    print(f"\n{recipe}: {model['family']}, {plan['num_parameters']:,} parameters, sequences of {data['seq_length']}, "
          f"{data['global_batch_size']} a step; {num_rounds} rounds of {num_steps} steps.\n")
    for precision, contestants in groups.items():
        ours = next((c for c in contestants if c.name == "nemo-cpp"), None)
        print(f"| {precision} | step ms, median (best … worst) | tokens/s | step / nemo-cpp's | start to first step s "
              "(first round) | peak resident MB |\n|---|---|---|---|---|---|")
        for contestant in contestants:
            print(row_of(contestant, ours, data["global_batch_size"] * data["seq_length"]))
        print(flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("nemo_cpp")
    parser.add_argument("recipes", nargs="*", default=["tests/bench/yardstick.yaml", "tests/bench/gpt2_124m.yaml"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_intermixed_args()
    print(f"torch {version('torch')} and transformers {version('transformers')} of PyPI (the build for CUDA, on the CPU); load before {os.getloadavg()[0]:.1f}")
    for recipe in options.recipes:
        compare(options.nemo_cpp, recipe, options.rounds, options.steps)
    print(f"load after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
