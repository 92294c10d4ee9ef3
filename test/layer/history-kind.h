/* SPDX-License-Identifier: MIT */
/*
 * history-kind: the qcow2 images that a random history can be about.
 */
#ifndef TEST_LAYER_HISTORY_KIND_H
#define TEST_LAYER_HISTORY_KIND_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct history_kind {
    const char *create; /* options */
    const char *open;   /* options, or NULL */
    int64_t backing;    /* bytes of the backing file, b.raw; 0: none */
};

/* Is the text among the options of create? */
bool kind_has(const struct history_kind *kind, const char *text);
/* Can such an image have snapshots; compressed clusters? */
bool kind_takes_snapshots(const struct history_kind *kind);
bool kind_packs(const struct history_kind *kind);

/* Draws options from @dice, also for opening it, and the size of a backing
 * file, from 0 to @most.  kind_free() what comes back. */
struct history_kind *kind_draw(GRand *dice, int64_t most);
void kind_free(struct history_kind *kind);

#endif /* TEST_LAYER_HISTORY_KIND_H */
