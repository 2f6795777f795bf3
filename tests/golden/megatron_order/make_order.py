#!/usr/bin/env python3
"""Makes three small datasets and the samples Megatron-Core reads from them, beside this script.

Run it in an environment that has requirements.txt installed (../README.md says how). Every token of
a dataset occurs once, so a sample tells where each of its tokens comes from.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from megatron.core.datasets import helpers
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder
from megatron.core.datasets.utils import get_blend_from_list, normalize
from safetensors.numpy import save_file

SEQ = 8
SEEDS = (1234, 42)
# name: (vocabulary, first token, lengths of its documents)
RNG = np.random.default_rng(20240601)
DATASETS = {
    # 16-bit; mostly shorter than a sample, some empty
    "short": (50257, 0, RNG.integers(0, 20, 151)),
    # 32-bit; a document is many samples
    "long": (128256, 100_000, RNG.integers(50, 120, 24)),
    # so few tokens, 24 * SEQ, that a run passes over them many times
    "few": (50257, 40_000, [*RNG.integers(9, 20, 12), 12]),
}
# paths as a recipe has them, split, samples of training, and of validation and test (None: one
# pass over what there is)
CASES = [
    (["short"], "969,30,1", 100, None, None),  # within one pass
    (["short"], "8,1,1", 330, None, None),  # the last of 3 passes is shuffled apart
    (["short"], "70,20,10", 235, None, None),  # the last of 2 passes gives over 80 %
    (["long"], "8,1,1", 200, None, None),
    (["long"], "1,0,0", 700, None, None),
    (["long"], "1,0,0", 435, None, None),  # the last of 2 passes gives 193 samples: just 80 %
    (["long"], "1,0,0", 434, None, None),  # just less
    (["few"], "7,1,1", 120, None, None),  # 8 passes
    (["few"], "1,0,0", 24, None, None),  # one token more than a pass has
    (["short", "long", "few"], "8,1,1", 260, None, None),  # by their sizes
    (["short", "long"], "90,5,5", 100, None, None),
    (["0.3", "short", "0.7", "long"], "8,1,1", 200, 12, 10),
    (["30", "few", "50", "short", "20", "long"], "6,2,2", 150, 3, 3),
    (["1", "short", "4", "long", "1", "few"], "80,10,10", 90, 3, 3),  # last bits decide a tie
    (["1", "long", "1", "few"], "1,0,0", 484, 1, 1),  # the surplus takes another pass
]
# Weights of blends of many datasets. They are summed pairwise, from 8 on and again from 129 on, and
# these have ties that another sum would decide otherwise.
MANY = {
    "3": [1.0, 4.0, 1.0],
    "9": [2.9, 1.4, 2.6, 2.4, 1.5, 0.6, 0.2, 1.6, 0.6],
    "300": (np.random.default_rng(1).integers(1, 30, 300) / 10).tolist(),
}
NUM_BLENDED = 2000


class Tokenizer:
    """What GPTDataset asks a tokenizer for: no padding and no end token among the ids."""

    vocab_size = 128256
    pad = eod = -1
    unique_identifiers = {"class": "none"}


def write_datasets(folder):
    for name, (vocab, first, lengths) in DATASETS.items():
        builder = IndexedDatasetBuilder(f"{folder}/{name}.bin", dtype=DType.optimal_dtype(vocab))
        for length in lengths:
            builder.add_document(torch.arange(first, first + int(length)), [int(length)])
            first += int(length)
        builder.finalize(f"{folder}/{name}.idx")


def read_samples(folder, paths, split, seed, sizes):
    prefixes, weights = get_blend_from_list(paths)
    config = GPTDatasetConfig(
        random_seed=seed, sequence_length=SEQ, split=split, tokenizer=Tokenizer(),
        blend=([f"{folder}/{prefix}" for prefix in prefixes], weights),
        reset_position_ids=False, reset_attention_mask=False, eod_mask_loss=False,
        create_attention_mask=False,
    )
    parts = BlendedMegatronDatasetBuilder(GPTDataset, sizes, lambda: True, config).build()
    samples = []
    for part in parts:
        rows = [] if part is None else [
            np.concatenate([part[i]["tokens"].numpy(), part[i]["labels"].numpy()[-1:]])
            for i in range(len(part))]
        samples.append(np.array(rows, dtype=np.int32).reshape(len(rows), SEQ + 1))
    return samples


def blend_order(weights):
    order = np.zeros(NUM_BLENDED, dtype=np.int16)
    sample = np.zeros(NUM_BLENDED, dtype=np.int64)
    # Once by the builder, once by BlendedDataset.
    weights = normalize(normalize(weights))
    helpers.build_blending_indices(order, sample, weights, len(weights), NUM_BLENDED, False)
    return order.astype(np.int32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    out.mkdir(exist_ok=True)
    write_datasets(out)
    cases, tensors = [], {}
    with tempfile.TemporaryDirectory() as folder:  # Megatron leaves its caches beside the data
        write_datasets(folder)
        for paths, split, *sizes in CASES:
            for seed in SEEDS:
                name = str(len(cases))
                cases.append({
                    "name": name, "paths": paths,
                    "split": [float(share) for share in split.split(",")], "seed": seed,
                    "num_samples": sizes[0],
                })
                parts = read_samples(folder, paths, split, seed, sizes)
                for part, rows in zip(("training", "validation", "test"), parts):
                    tensors[f"{name}.{part}"] = rows
    for name, weights in MANY.items():
        tensors[f"blend.{name}"] = blend_order(weights)
    import megatron.core
    (out / "cases.json").write_text(json.dumps({
        "seq_length": SEQ,
        "versions": {"megatron_core": megatron.core.__version__, "numpy": np.__version__,
                     "torch": torch.__version__},
        "blends": {name: weights for name, weights in MANY.items()},
        "cases": cases,
    }, indent=1) + "\n")
    save_file(tensors, out / "samples.safetensors")


if __name__ == "__main__":
    main()
