/* SPDX-License-Identifier: MIT */

#include "backend/history.h"

#include <assert.h>
#include <string.h>

static struct history_entry *history_new_entry(struct history *h)
{
    if (h->n_entries == HISTORY_ENTRIES) {
        h->n_entries--;
        memmove(&h->entries[0], &h->entries[1],
                (size_t)h->n_entries * sizeof(h->entries[0]));
    }
    return &h->entries[h->n_entries++];
}

void history_add(struct history *h, int rc)
{
    struct history_entry *last = NULL;

    assert(rc < 0);
    if (h->n_entries > 0) {
        last = &h->entries[h->n_entries - 1];
    }
    if (!last || last->rc != rc) {
        last = history_new_entry(h);
        last->rc = rc;
    }
    last->last = ++h->errors;
}

uint64_t history_cursor(const struct history *h)
{
    return h->told;
}

int history_since(struct history *h, uint64_t *cursor)
{
    uint64_t from = *cursor;
    int i = 0;

    if (from == h->errors) {
        return 0;
    }
    *cursor = h->told = h->errors;
    while (i < h->n_entries && h->entries[i].last <= from) {
        i++;
    }
    assert(i < h->n_entries); /* the last entry ends at the last error */
    return h->entries[i].rc;
}
