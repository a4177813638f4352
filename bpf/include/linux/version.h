/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#define LINUX_VERSION_CODE 329728 /* 5.8.0: the first kernel with the ring buffer */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
