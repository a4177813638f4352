/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Bits of a filter bitmap as numbers.
 */
#ifndef SHADOWD_BITS_H
#define SHADOWD_BITS_H

#include "abi.h"
#include "parse.h"

/* 1 for 0, of 32 bits. Without a branch, and without clang's knowledge: each branch doubles the verifier's paths. */
inline_always __u64 is_zero(__u32 value)
{
    __u64 wide = value;

    asm volatile("" : "+r"(wide));
    return (wide - 1) >> 63;
}

/* The lowest bit's number, 64 for none: how many bits lie below it. clang's own way (ctz) crashes bcc's compiler. */
inline_always __u32 lowest_bit(__u64 value)
{
    __u64 below = ~value & (value - 1);

    below -= below >> 1 & 0x5555555555555555ULL;
    asm volatile("" : "+r"(below)); /* or clang finds its own name for counting bits, which crashes it as well */
    below = (below & 0x3333333333333333ULL) + (below >> 2 & 0x3333333333333333ULL);
    below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
    return below * 0x0101010101010101ULL >> 56;
}

/* The filters that are counted, as in flow_state. */
inline_always void note_counted(__u64 filters, __u8 *counted)
{
#pragma unroll
    for (int i = 0; i < MAX_COUNTED; i++) {
        counted[i] = lowest_bit(filters);
        filters &= filters - 1;
    }
}

#endif
