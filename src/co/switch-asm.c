/* SPDX-License-Identifier: MIT */
/*
 * switch-asm: the stack switch for x86_64 and aarch64.
 *
 * A suspended stack has the callee-saved registers and the return address on
 * top; switch_ctx.state points there.  Both sides of a switch have the same
 * layout, so the unwind information is right at each instruction, before and
 * after the stack pointer changes.  A backtrace ends at switch_start, whose
 * return address is declared undefined.
 *
 * Floating-point control words are not saved: coroutines do not change them.
 *
 * x86's shadow stacks are not switched.  meson compiles with
 * -fcf-protection=branch, so that programs with this file in them are not
 * marked for shadow stacks and run without.
 */
#include <stdint.h>
#include <stdlib.h>

#include "co/switch.h"

/* Where a new stack begins. */
void switch_start(void);

/* switch_to() reads and writes it at the address of the context. */
_Static_assert(offsetof(struct switch_ctx, state) == 0, "state comes first");

#define FUNCTION(name)                     \
    ".text\n"                              \
    ".p2align 4\n"                         \
    ".globl " name "\n"                    \
    ".hidden " name "\n"                   \
    ".type " name ", %function\n" name ":" \
    "\n"                                   \
    ".cfi_startproc\n"
#define END(name)    \
    ".cfi_endproc\n" \
    ".size " name ", .-" name "\n"

#if defined(__x86_64__)

/* clang-format off */
#define PUSH(reg)                         \
    "pushq %" reg "\n"                    \
    ".cfi_adjust_cfa_offset 8\n"          \
    ".cfi_rel_offset %" reg ", 0\n"
#define POP(reg)                          \
    "popq %" reg "\n"                     \
    ".cfi_adjust_cfa_offset -8\n"         \
    ".cfi_restore %" reg "\n"

/* The jump instead of a return keeps the processor's return predictor out of
 * it, which is wrong here each time. */
__asm__(FUNCTION("switch_to")
    "endbr64\n"
    PUSH("rbp") PUSH("rbx") PUSH("r12") PUSH("r13") PUSH("r14") PUSH("r15")
    "movq %rsp, (%rdi)\n"
    "movq (%rsi), %rsp\n"
    POP("r15") POP("r14") POP("r13") POP("r12") POP("rbx") POP("rbp")
    "popq %rcx\n"
    ".cfi_adjust_cfa_offset -8\n"
    ".cfi_register %rip, %rcx\n"
    "notrack jmp *%rcx\n"
    END("switch_to"));

__asm__(FUNCTION("switch_start")
    ".cfi_undefined %rip\n"
    "endbr64\n"
    "xorl %ebp, %ebp\n"
    "movq %r13, %rdi\n"
    "callq *%r12\n"
    "ud2\n"
    END("switch_start"));
/* clang-format on */

struct frame {
    uint64_t r15, r14, r13, r12, rbx, rbp, rip;
    uint64_t pad[2]; /* a multiple of 16 is left above, as the ABI wants it */
};

static void frame_init(struct frame *f, void (*fn)(void *arg), void *arg)
{
    f->r12 = (uintptr_t)fn;
    f->r13 = (uintptr_t)arg;
    f->rip = (uintptr_t)switch_start;
}

#elif defined(__aarch64__)

/* clang-format off */
#define SAVE(a, b, off)                   \
    "stp " a ", " b ", [sp, " off "]\n"   \
    ".cfi_rel_offset " a ", " off "\n"    \
    ".cfi_rel_offset " b ", " off "+8\n"
#define LOAD(a, b, off)                   \
    "ldp " a ", " b ", [sp, " off "]\n"   \
    ".cfi_restore " a "\n"                \
    ".cfi_restore " b "\n"

__asm__(FUNCTION("switch_to")
    "hint 34\n" /* bti c */
    "sub sp, sp, 160\n"
    ".cfi_adjust_cfa_offset 160\n"
    SAVE("x19", "x20", "0") SAVE("x21", "x22", "16") SAVE("x23", "x24", "32")
    SAVE("x25", "x26", "48") SAVE("x27", "x28", "64") SAVE("x29", "x30", "80")
    SAVE("d8", "d9", "96") SAVE("d10", "d11", "112")
    SAVE("d12", "d13", "128") SAVE("d14", "d15", "144")
    "mov x9, sp\n"
    "str x9, [x0]\n"
    "ldr x9, [x1]\n"
    "mov sp, x9\n"
    LOAD("x19", "x20", "0") LOAD("x21", "x22", "16") LOAD("x23", "x24", "32")
    LOAD("x25", "x26", "48") LOAD("x27", "x28", "64") LOAD("x29", "x30", "80")
    LOAD("d8", "d9", "96") LOAD("d10", "d11", "112")
    LOAD("d12", "d13", "128") LOAD("d14", "d15", "144")
    "add sp, sp, 160\n"
    ".cfi_adjust_cfa_offset -160\n"
    "ret\n"
    END("switch_to"));

__asm__(FUNCTION("switch_start")
    ".cfi_undefined x30\n"
    "mov x29, xzr\n"
    "mov x0, x20\n"
    "blr x19\n"
    "brk 1\n"
    END("switch_start"));
/* clang-format on */

struct frame {
    uint64_t x[12]; /* x19 to x30 */
    uint64_t d[8];  /* d8 to d15 */
};

static void frame_init(struct frame *f, void (*fn)(void *arg), void *arg)
{
    f->x[0] = (uintptr_t)fn;
    f->x[1] = (uintptr_t)arg;
    f->x[11] = (uintptr_t)switch_start;
}

#else
#    error "no assembly for this machine: meson setup -Dcoroutine=ucontext"
#endif

void switch_init(struct switch_ctx *ctx, void *stack, size_t size,
                 void (*fn)(void *arg), void *arg)
{
    char *top = (char *)stack + size;
    struct frame *f;

    top -= (uintptr_t)top % 16 + sizeof(*f);
    f = (struct frame *)(void *)top;
    *f = (struct frame){0};
    frame_init(f, fn, arg);
    ctx->state = f;
}

void switch_fini(struct switch_ctx *ctx)
{
    ctx->state = NULL;
}

void switch_last(struct switch_ctx *from, struct switch_ctx *to)
{
    switch_to(from, to);
    abort(); /* somebody entered a coroutine that has ended */
}
