/* SPDX-License-Identifier: MIT */
/*
 * api: what all headers of libcoblk share.
 *
 * The library consists of
 *
 *   coblk/co.h       coroutines
 *   coblk/loop.h     the event loop they run on
 *   coblk/backend.h  disk images: open, read, write, flush
 *   coblk/driver.h   drivers of one's own
 *
 * Units:     offsets and lengths are bytes, times are nanoseconds of
 *            CLOCK_MONOTONIC.
 * Errors:    functions return >= 0, or a negative errno value.  Those that
 *            open something can say more: their last argument `error`, unless
 *            it is NULL, receives one line for a person, to be freed with
 *            free().  Results and `error` are left alone where the comment
 *            does not say otherwise.  The library prints nothing.
 * Yielding:  coblk_co_yield(), coblk_co_sleep(), and functions with _co_ in
 *            the middle of their name (coblk_backend_co_read()) may suspend the
 *            coroutine that calls them; except for the first, it must belong
 *            to a loop.  No other function yields.  Never yield while holding
 *            a mutex of pthreads.
 * Threading: each thread has at most one loop, and a coroutine stays on the
 *            thread that entered it first.  What may be called on any thread
 *            says so.
 * ABI:       the version of the shared object is 0: it may change with each
 *            release.
 */
#ifndef COBLK_API_H
#define COBLK_API_H

#define COBLK_API       __attribute__((visibility("default")))
#define COBLK_NODISCARD __attribute__((warn_unused_result))

#endif /* COBLK_API_H */
