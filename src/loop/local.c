/* SPDX-License-Identifier: MIT */
#include "loop/loop_priv.h"

struct local {
    struct local *next;
    const void *key;
    void *value;
    void (*free_fn)(void *value);
};

void *loop_local(struct loop *loop, const void *key)
{
    for (struct local *l = loop->locals; l; l = l->next) {
        if (l->key == key) {
            return l->value;
        }
    }
    return NULL;
}

void loop_set_local(struct loop *loop, const void *key, void *value,
                    void (*free_fn)(void *value))
{
    struct local *l = g_new(struct local, 1);

    *l = (struct local){loop->locals, key, value, free_fn};
    loop->locals = l;
}

void loop_free_locals(struct loop *loop)
{
    struct local *l;

    while ((l = loop->locals)) {
        loop->locals = l->next;
        if (l->free_fn) {
            l->free_fn(l->value);
        }
        g_free(l);
    }
}
