// Scaled dot-product attention with grouped queries, blocked so that no S x S matrix exists
// (Dao 2023, "FlashAttention-2").
//   s = scale * q k^T (+ mask)     lse = log sum_k exp(s)     o = exp(s - lse) v
// q, k, v, o and their gradients have one dtype, fp32, bf16 or fp16; all between is fp32.
// q, o: [B, Sq, H, D]; k, v: [B, Sk, G, D] with G query groups, H % G == 0, query head i reads
// k/v head i / (H / G). All may be strided views (packed QKV); D is dense. lse: [B, H, Sq] fp32,
// natural logarithm, Sq dense: it may be a range of longer rows.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// kCausal: query i sees keys 0 … i; needs Sq == Sk. kNone: every query sees every key.
enum class AttentionMask { kNone, kCausal };

// o = , lse = .
void attention_forward(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v,
                       AttentionMask mask, float scale, const Tensor& o, const Tensor& lse);

struct AttentionBackward {
  Tensor doutput;  // [B, Sq, H, D]
  Tensor q, k, v;  // as in forward
  Tensor o, lse;   // of forward; over all keys where k, v are one block of several
  AttentionMask mask;
  float scale;
  Tensor dq, dk, dv;  // shapes of q, k, v; may be strided
};

// dq = , dk = , dv = . The same bits from run to run for a given number of threads.
void attention_backward(Stream& stream, const AttentionBackward& args);

}  // namespace nemo::kernels
