/* SPDX-License-Identifier: MIT */
/*
 * registry: the drivers that this program has, and which of them an image is
 * for.  Filled at start-up by one thread, constant afterwards.
 */
#include <string.h>

#include "block/node_priv.h"

#define MAX_DRIVERS 64

static const struct driver *drivers[MAX_DRIVERS];
static unsigned n_drivers;

void driver_register(const struct driver *drv)
{
    assert(!driver_find(drv->name) && n_drivers < MAX_DRIVERS);
    drivers[n_drivers++] = drv;
}

const struct driver *driver_find(const char *name)
{
    for (unsigned i = 0; i < n_drivers; i++) {
        if (strcmp(drivers[i]->name, name) == 0) {
            return drivers[i];
        }
    }
    return NULL;
}

const struct driver *driver_nth(unsigned i)
{
    return i < n_drivers ? drivers[i] : NULL;
}

const struct driver *driver_probe(const uint8_t *head, size_t n,
                                  const char *filename)
{
    const struct driver *best = NULL;
    int best_score = 0;

    for (unsigned i = 0; i < n_drivers; i++) {
        const struct driver *drv = drivers[i];
        int score = drv->probe ? drv->probe(head, n, filename) : 0;

        if (score > best_score) {
            best = drv;
            best_score = score;
        }
    }
    return best;
}
