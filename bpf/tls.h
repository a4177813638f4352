/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the functions are called with by which TLS libraries tell their key log, x86-64 (shadowd/capture/tlslibs.py finds
 * them). They are read at the function's entry, from registers alone: no return probe, nothing of the library's own
 * structures but a window in which the client random lies.
 *
 * Memory that cannot be read (swapped out, a wrong guess) leaves zeros: the helpers never wait for a page.
 */
#ifndef SHADOWD_TLS_H
#define SHADOWD_TLS_H

#include "abi.h"
#include "parse.h"

/* Helpers 112 and 114 of include/uapi/linux/bpf.h (5.5). Under their own names bcc takes older ones instead where it may
 * not read /proc/kallsyms, and the bytecode would be another one on each machine. */
static long (*read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*read_user_text)(void *to, u32 size, const void *from) = (void *)114;

/* struct pt_regs of x86-64 (include/uapi/asm/ptrace.h). Its programs are loaded on x86-64 alone. */
struct registers {
    u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

inline_always int read_bytes(struct secret *s, u64 secret, u64 length)
{
    if (!length || length > TLS_SECRET)
        return 0; /* no secret of TLS */
    s->secret_length = length;
    asm volatile("" : "+r"(length));
    if (length > TLS_SECRET) /* once more: the verifier has lost sight of it */
        return 0;
    return !read_user(s->secret, length, (void *)secret);
}

/* (void *context, const char *label, const u8 *secret, size_t length): OpenSSL, BoringSSL (a span is two words). GnuTLS
 * has an unsigned length: the upper half of its register is anything. */
inline_always int read_c(struct secret *s, const struct registers *r, const struct tls_places *places)
{
    s->context = r->di;
    long label = read_user_text(s->label, sizeof(s->label), (void *)r->si);
    if (label <= 1 || !read_bytes(s, r->dx, (u32)r->cx))
        return 0;
    s->label_length = label - 1;
#pragma unroll
    for (int i = 0; i < TLS_PLACES; i++) {
        u64 from = r->di, through = places->place[i].through;
        if (through == TLS_DIRECT || !read_user(&from, sizeof(from), (void *)(r->di + through)))
            read_user(s->random + i * TLS_RANDOM, TLS_RANDOM, (void *)(from + places->place[i].offset));
    }
    return 1;
}

/* func (c *Config) writeKeyLog(label string, clientRandom, secret []byte), Go 1.17's registers (abi-internal.md): c AX,
 * label BX CX, clientRandom DI SI R8, secret R9 R10 R11. */
inline_always int read_go(struct secret *s, const struct registers *r)
{
    u64 label = r->cx;
    if (!label || label >= TLS_LABEL || r->si != TLS_RANDOM)
        return 0;
    s->context = r->ax;
    s->label_length = label;
    asm volatile("" : "+r"(label));
    if (label >= TLS_LABEL || read_user(s->label, label, (void *)r->bx))
        return 0;
    s->exact = 1;
    return read_bytes(s, r->r9, r->r10) && !read_user(s->random, TLS_RANDOM, (void *)r->di);
}

#endif
