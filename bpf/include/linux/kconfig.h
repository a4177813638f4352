/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SHADOWD_KCONFIG_H
#define SHADOWD_KCONFIG_H
#define CONFIG_BPF_SYSCALL 1
#endif
