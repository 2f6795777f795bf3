#!/usr/bin/env python3
"""Makes the golden files: tiny Transformers models and ten steps of training them with PyTorch.

Run it in an environment that has requirements.txt installed (README.md says how); it rewrites the
model folders beside it. The reference is computed in float64 throughout (guarded by
RefuseFloat32) and again in float32, which must agree within AGREEMENT.
"""

import argparse
import contextlib
import json
import math
import platform
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NUM_STEPS = 10
BATCH = 4
SEQ = 64
BETAS = (0.9, 0.95)
EPS = 1e-5
WEIGHT_DECAY = 0.1
CLIP = 1.0
LR, MIN_LR, WARMUP_STEPS, SCHEDULE_STEPS = 1e-3, 1e-4, 3, 10
FLOAT32 = torch.float32  # by value: float64_throughout rebinds the name in torch
SMALLER_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
AGREEMENT = 2e-6  # relative, float32 against float64: losses and gradient norms

LLAMA = dict(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10000.0,
    max_position_embeddings=128, tie_word_embeddings=False, attention_bias=False, mlp_bias=False,
    attention_dropout=0.0, hidden_act="silu", bos_token_id=None, eos_token_id=None,
    pad_token_id=None,
)
GPT2 = dict(
    vocab_size=64, n_embd=32, n_inner=64, n_layer=2, n_head=4, n_positions=80,
    layer_norm_epsilon=1e-5, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    activation_function="gelu_new", tie_word_embeddings=True, bos_token_id=None,
    eos_token_id=None,
)
# low and high wavelengths 64/1 and 64/4: of the 8 frequencies one stays, two are blended, five are
# divided by the factor.
LLAMA31_SCALING = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
)


def llama(**changes):
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(**{**LLAMA, **changes})


def mixtral(**changes):
    base = {k: v for k, v in LLAMA.items() if k not in ("attention_bias", "mlp_bias")}
    return transformers.MixtralForCausalLM, transformers.MixtralConfig(**{**base, **changes})


def gpt2(**changes):
    return transformers.GPT2LMHeadModel, transformers.GPT2Config(**{**GPT2, **changes})


# folder: (nemo-cpp's family, (class, config))
MODELS = {
    "llama_gqa": ("llama", llama()),
    "llama_tied": ("llama", llama(tie_word_embeddings=True, vocab_size=96)),
    "llama_rope31": ("llama", llama(
        num_attention_heads=2, num_key_value_heads=1, rope_scaling=LLAMA31_SCALING)),
    "llama_head_dim": ("llama", llama(
        head_dim=12, intermediate_size=48, rope_theta=500000.0, rms_norm_eps=1e-6)),
    "gpt2_tanh": ("gpt", gpt2()),
    "gpt2_exact": ("gpt", gpt2(activation_function="gelu", layer_norm_epsilon=1e-4)),
    "mixtral": ("mixtral", mixtral(
        intermediate_size=16, num_local_experts=4, num_experts_per_tok=2, rope_theta=1e6,
        router_aux_loss_coef=0.0, output_router_logits=False, router_jitter_noise=0.0,
        sliding_window=None)),
}


def learning_rate(step):
    """semantics: step counts from 0; warm-up to LR, cosine to MIN_LR at SCHEDULE_STEPS."""
    if step <= WARMUP_STEPS:
        return LR * (step + 1) / (WARMUP_STEPS + 1)
    done = (step - WARMUP_STEPS) / (SCHEDULE_STEPS - WARMUP_STEPS)
    return MIN_LR + (LR - MIN_LR) / 2 * (1 + math.cos(math.pi * done))


def initial_weights(model, rng):
    """Large enough that every gradient matters; norms away from 1, biases away from 0."""
    weights = {}
    for name, p in sorted(model.named_parameters()):
        noise = torch.from_numpy(rng.standard_normal(tuple(p.shape)))
        if name.endswith("bias"):
            value = 0.1 * noise
        elif p.dim() == 1:
            value = 1 + 0.2 * noise
        elif ".gate." in name:  # a router: clear decisions
            value = 0.5 * noise
        elif any(word in name for word in ("embed", "wpe")):  # small: norm_eps must show
            value = 0.06 * noise
        elif ".mlp.c_" in name:  # large: the two GELUs must differ
            value = 0.4 * noise
        else:
            value = 0.2 * noise
        weights[name] = value.to(torch.float32)
    return weights


def make_tokens(vocab_size, rng):
    """[NUM_STEPS, BATCH, SEQ + 1]: mostly the successor of the token before, else any token."""
    tokens = rng.integers(0, vocab_size, (NUM_STEPS, BATCH, SEQ + 1))
    follow = rng.random(tokens.shape) < 0.6
    for j in range(1, SEQ + 1):
        successor = (tokens[..., j - 1] + 1) % vocab_size
        tokens[..., j] = np.where(follow[..., j], successor, tokens[..., j])
    return torch.from_numpy(tokens.astype(np.int32))


class RefuseFloat32(TorchDispatchMode):
    """Proves that a float64 run is one: no operation may produce a smaller float."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.dtype in SMALLER_FLOATS:
                raise AssertionError(f"{func} made {leaf.dtype} in a float64 run")
        return out


@contextlib.contextmanager
def float64_throughout():
    """Transformers computes norms, rope and softmax in `torch.float32` by name; here that name,
    and Tensor.float(), mean float64."""
    with contextlib.ExitStack() as stack:
        for name in ("float", "float32"):
            stack.enter_context(mock.patch.object(torch, name, torch.float64))
        stack.enter_context(mock.patch.object(torch.Tensor, "float", torch.Tensor.double))
        torch.set_default_dtype(torch.float64)
        stack.callback(torch.set_default_dtype, FLOAT32)
        stack.enter_context(RefuseFloat32())
        yield


def build(model_class, config, weights, dtype):
    config._attn_implementation = "eager"
    model = model_class(config).to(dtype)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name].to(dtype))
    return model.train()


def mean_cross_entropy(model, batch):
    """Mean over all BATCH * SEQ targets, written out."""
    inputs, targets = batch[:, :-1], batch[:, 1:]
    logits = model(input_ids=inputs, use_cache=False).logits
    return (torch.logsumexp(logits, -1) - logits.gather(-1, targets[..., None])[..., 0]).mean()


def check_against_own_loss(model, batch, loss):
    """Transformers' own loss, which shifts the labels itself."""
    with torch.no_grad():
        own = model(input_ids=batch, labels=batch, use_cache=False).loss.item()
    assert abs(own - loss) <= 1e-6 * abs(loss), (own, loss)


def check_adamw_step(before, grad, after, lr, decay):
    """AdamW's first step from its definition: decay before the update, eps outside the root."""
    m = (1 - BETAS[0]) * grad / (1 - BETAS[0])
    v = (1 - BETAS[1]) * grad * grad / (1 - BETAS[1])
    expected = before * (1 - lr * decay) - lr * m / (v.sqrt() + EPS)
    assert torch.allclose(after, expected, rtol=0, atol=1e-7), (after - expected).abs().max()


def train(model, tokens):
    """The ten steps: [(lr, loss, grad_norm)], and the gradients of step 1 before clipping."""
    named = dict(model.named_parameters())
    groups = [
        dict(params=[p for p in named.values() if p.dim() > 1], weight_decay=WEIGHT_DECAY),
        dict(params=[p for p in named.values() if p.dim() == 1], weight_decay=0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, foreach=False)
    steps, gradients = [], None
    for step in range(NUM_STEPS):
        batch = tokens[step].long()
        optimizer.zero_grad()
        loss = mean_cross_entropy(model, batch)
        check_against_own_loss(model, batch, loss.item())
        loss.backward()
        if step == 0:
            gradients = {k: p.grad.clone() for k, p in named.items()}
            before = {k: p.detach().clone() for k, p in named.items()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=False)
        lr = learning_rate(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        if step == 0:
            for k, p in named.items():
                decay = WEIGHT_DECAY if p.dim() > 1 else 0.0
                check_adamw_step(before[k], p.grad, p.detach(), lr, decay)
        steps.append((lr, loss.item(), norm.item()))
    return steps, gradients


def as_float32(tensors):
    return {k: t.detach().to(FLOAT32).contiguous().clone() for k, t in tensors.items()}


def relative(a, b):
    return abs(a - b) / abs(b)


def largest_weight_difference(model32, model64):
    """max over tensors of |difference| / |tensor|, L2."""
    pairs = zip(model32.named_parameters(), model64.named_parameters())
    return max(((a.detach().double() - b.detach()).norm() / b.detach().norm()).item()
               for (_, a), (_, b) in pairs)


def make(name, family, model_class, config, seed, folder):
    rng = np.random.default_rng(seed)
    weights = initial_weights(model_class(config), rng)
    tokens = make_tokens(config.vocab_size, rng)

    model32 = build(model_class, config, weights, FLOAT32)
    shutil.rmtree(folder, ignore_errors=True)
    model32.save_pretrained(folder, safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)
    steps32, _ = train(model32, tokens)
    with float64_throughout():
        model64 = build(model_class, config, weights, torch.float64)
        steps64, gradients = train(model64, tokens)

    for (_, loss32, norm32), (_, loss64, norm64) in zip(steps32, steps64):
        assert relative(loss32, loss64) < AGREEMENT, (loss32, loss64)
        assert relative(norm32, norm64) < AGREEMENT, (norm32, norm64)
    weight_difference = largest_weight_difference(model32, model64)

    save_file({"tokens": tokens}, folder / "tokens.safetensors")
    save_file(as_float32(gradients), folder / "gradients.safetensors")
    save_file(as_float32(dict(model64.named_parameters())), folder / "final.safetensors")
    golden = {
        "family": family,
        "num_parameters": sum(p.numel() for p in model64.parameters()),
        "seq_length": SEQ,
        "global_batch_size": BATCH,
        "optim": {
            "name": "adamw", "lr": LR, "min_lr": MIN_LR, "betas": BETAS, "eps": EPS,
            "weight_decay": WEIGHT_DECAY, "clip_grad": CLIP, "schedule": "cosine",
            "warmup_steps": WARMUP_STEPS, "schedule_steps": SCHEDULE_STEPS,
        },
        "steps": [
            {"step": i + 1, "lr": lr, "loss": loss, "grad_norm": norm,
             "loss_fp32": steps32[i][1], "grad_norm_fp32": steps32[i][2]}
            for i, (lr, loss, norm) in enumerate(steps64)
        ],
        "fp32_against_fp64": {
            "loss": max(relative(a[1], b[1]) for a, b in zip(steps32, steps64)),
            "grad_norm": max(relative(a[2], b[2]) for a, b in zip(steps32, steps64)),
            "final_weights": weight_difference,
        },
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "transformers": transformers.__version__, "numpy": np.__version__,
        },
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {golden['num_parameters']} parameters, {size} bytes, "
          f"loss {steps64[0][1]:.6f} -> {steps64[-1][1]:.6f}, "
          f"norm {min(s[2] for s in steps64):.3f}..{max(s[2] for s in steps64):.3f}, "
          f"fp32 against fp64 {golden['fp32_against_fp64']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("models", nargs="*", help="folders to make; all when none is named")
    args = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    print(f"python {platform.python_version()}, torch {torch.__version__}, "
          f"transformers {transformers.__version__}, numpy {np.__version__}")
    for seed, (name, (family, (model_class, config))) in enumerate(MODELS.items(), start=1):
        if not args.models or name in args.models:
            make(name, family, model_class, config, seed, args.out / name)


if __name__ == "__main__":
    main()
