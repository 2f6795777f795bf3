"""Trains a recipe's model with PyTorch and Transformers, as fast as they do it on CPU.

peer_step.py PLAN {fp32,bf16} {eager,compiled} STEPS

PLAN is the document of `nemo-cpp pretrain --dry-run`, so that both train the same model on the same
shapes with the same optimizer. A step is everything from tokens to updated weights; each ends with
a line. bf16 is autocast over fp32 weights.
"""
import contextlib
import sys

import torch
import torch.nn.functional as F
import transformers
import yaml
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "swiglu": "silu"}
# Under a name of its own Transformers makes no mask for it, so that the kernel skips what is masked.
transformers.AttentionInterface.register("causal_sdpa", sdpa_attention_forward)


def make_model(m, seq_length):
    common = dict(vocab_size=m["vocab_size"], tie_word_embeddings=m["tie_embeddings"], initializer_range=m["init_std"],
                  bos_token_id=None, eos_token_id=None, use_cache=False, attn_implementation="causal_sdpa")
    if m["family"] == "gpt":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(
            n_embd=m["hidden_size"], n_inner=m["ffn_hidden_size"], n_layer=m["num_layers"],
            n_head=m["num_attention_heads"], n_positions=m["max_position_embeddings"],
            layer_norm_epsilon=m["norm_eps"], activation_function=ACTIVATIONS[m["activation"]],
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **common))
    assert m["family"] == "llama" and m["rope_scaling"]["type"] == "none", m
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        hidden_size=m["hidden_size"], intermediate_size=m["ffn_hidden_size"], num_hidden_layers=m["num_layers"],
        num_attention_heads=m["num_attention_heads"], num_key_value_heads=m["num_query_groups"],
        head_dim=m["head_dim"], rms_norm_eps=m["norm_eps"], rope_theta=m["rotary_base"],
        hidden_act=ACTIVATIONS[m["activation"]], max_position_embeddings=seq_length, **common))


def make_adamw(model, o):
    params = list(model.parameters())
    groups = [{"params": [p for p in params if p.dim() > 1]},
              {"params": [p for p in params if p.dim() <= 1], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=o["lr"], betas=o["betas"], eps=o["eps"], weight_decay=o["weight_decay"],
                             fused=True)


def train(plan, precision, mode, num_steps):
    recipe, data = plan["recipe"], plan["recipe"]["data"]
    assert data["global_batch_size"] == data["micro_batch_size"], "accumulation is not measured"
    torch.set_num_threads(recipe["trainer"]["threads_per_rank"])
    torch.manual_seed(recipe["trainer"]["seed"])
    model = make_model(recipe["model"], data["seq_length"])
    adamw = make_adamw(model, recipe["optim"])
    num_parameters = sum(p.numel() for p in model.parameters())
    assert num_parameters == plan["num_parameters"], (num_parameters, plan["num_parameters"])

    def loss_of(tokens, targets):
        return F.cross_entropy(model(tokens).logits.flatten(0, 1).float(), targets.flatten())

    if mode == "compiled":
        loss_of = torch.compile(loss_of, dynamic=False)
    autocast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    for step in range(1, num_steps + 1):
        sample = torch.randint(recipe["model"]["vocab_size"], (data["micro_batch_size"], data["seq_length"] + 1))
        with autocast:
            loss = loss_of(sample[:, :-1].contiguous(), sample[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe["optim"]["clip_grad"], foreach=True)
        adamw.step()
        adamw.zero_grad()
        print(f"step {step}  loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    train(yaml.safe_load(open(sys.argv[1])), sys.argv[2], sys.argv[3], int(sys.argv[4]))
