/* SPDX-License-Identifier: MIT */
/*
 * crypt: the header of LUKS: made, parsed, opened by its passphrases; broken
 * in each of its fields.
 */
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>

#include "base/endian.h"
#include "base/secure.h"
#include "crypt/luks.h"

#define SLOT(i) (208 + 48 * (i))

static const struct luks_secret good = {"open sesame", 11};
static const struct luks_secret other = {"", 0};
static const struct luks_secret bad = {"open sesamE", 11};

/* An image of the smallest key, so that tests do not take long. */
struct rig {
    struct luks luks;
    uint8_t *area;
    struct luks_key *key, *got;
    struct luks_change changes[2];
};

/* Made once: all tests begin with a copy. */
static struct rig made;

static void make(void)
{
    struct luks_options options = luks_default_options;

    options.cipher.alg = CIPHER_AES_128;
    options.iter_ms = 1;
    made.key = secure_alloc(sizeof(*made.key));
    g_assert_cmpint(
        luks_format(&options, &good, &made.luks, &made.area, made.key, NULL),
        ==, 0);
}

static void rig_up(struct rig *r)
{
    if (!made.key) {
        make();
    }
    r->luks = made.luks;
    r->area = g_memdup2(made.area, (gsize)luks_area_bytes(&made.luks));
    r->key = secure_alloc(sizeof(*r->key));
    r->got = secure_alloc(sizeof(*r->got));
    *r->key = *made.key;
}

static void rig_down(struct rig *r)
{
    secure_free(r->key, sizeof(*r->key));
    secure_free(r->got, sizeof(*r->got));
    g_free(r->area);
}

/* What the header in the area says opens with @secret: the slot, or an
 * error. */
static int reopen(struct rig *r, const struct luks_secret *secret)
{
    struct luks luks;
    int rc = luks_parse(r->area, LUKS_HEADER_BYTES, &luks, NULL);

    g_assert_cmpint(rc, ==, 0);
    rc = luks_unlock(&luks, r->area, secret, r->got, NULL);
    if (rc >= 0) {
        g_assert_cmpmem(r->got, sizeof(*r->got), r->key, sizeof(*r->key));
    }
    return rc;
}

static void test_format(void)
{
    struct rig r;

    rig_up(&r);
    g_assert_true(luks_probe(r.area, 8, 1));
    g_assert_cmpint(luks_active_slots(&r.luks), ==, 1);
    g_assert_cmpuint(r.luks.slots[0].iterations, >=, 1000);
    g_assert_cmpuint(r.luks.mk_iterations, >=, 1000);
    g_assert_cmpint(r.luks.payload_offset, ==,
                    luks_new_payload_offset(&r.luks.cipher));
    g_assert_cmpint(reopen(&r, &good), ==, 0);
    g_assert_cmpint(reopen(&r, &bad), ==, -EACCES);
    rig_down(&r);
}

static void test_payload_offset(void)
{
    /* As that of other programs. */
    g_assert_cmpint(luks_new_payload_offset(&luks_default_options.cipher), ==,
                    4040 * 512);
}

static void test_add_slot(void)
{
    struct rig r;

    rig_up(&r);
    g_assert_cmpint(
        luks_add_slot(&r.luks, r.area, -1, &other, 1, r.key, r.changes, NULL),
        ==, 1);
    g_assert_cmpint(r.changes[0].offset, ==, r.luks.slots[1].key_offset);
    g_assert_cmpint(r.changes[1].offset, ==, 0);
    g_assert_cmpint(
        luks_add_slot(&r.luks, r.area, 1, &other, 1, r.key, r.changes, NULL),
        ==, -EBUSY);
    g_assert_cmpint(
        luks_add_slot(&r.luks, r.area, 7, &bad, 1, r.key, r.changes, NULL), ==,
        7);
    g_assert_cmpint(reopen(&r, &good), ==, 0);
    g_assert_cmpint(reopen(&r, &other), ==, 1);
    g_assert_cmpint(reopen(&r, &bad), ==, 7);
    rig_down(&r);
}

static void test_slots_run_out(void)
{
    struct rig r;

    rig_up(&r);
    for (int i = 1; i < LUKS_SLOTS; i++) {
        g_assert_cmpint(luks_add_slot(&r.luks, r.area, -1, &other, 1, r.key,
                                      r.changes, NULL),
                        ==, i);
    }
    g_assert_cmpint(
        luks_add_slot(&r.luks, r.area, -1, &other, 1, r.key, r.changes, NULL),
        ==, -ENOSPC);
    rig_down(&r);
}

/* The material is overwritten: the slot does not come back with the header. */
static void test_erase_slot(void)
{
    uint8_t header[LUKS_HEADER_BYTES];
    struct rig r;

    rig_up(&r);
    g_assert_cmpint(
        luks_add_slot(&r.luks, r.area, -1, &other, 1, r.key, r.changes, NULL),
        ==, 1);
    memcpy(header, r.area, sizeof(header));
    g_assert_cmpint(luks_erase_slot(&r.luks, r.area, 0, 0, r.changes, NULL), ==,
                    0);
    g_assert_cmpint(reopen(&r, &good), ==, -EACCES);
    g_assert_cmpint(reopen(&r, &other), ==, 1);
    g_assert_cmpint(luks_erase_slot(&r.luks, r.area, 0, 0, r.changes, NULL), ==,
                    -EINVAL);
    memcpy(r.area, header, sizeof(header));
    g_assert_cmpint(reopen(&r, &good), ==, -EACCES);
    rig_down(&r);
}

static void test_erase_last(void)
{
    struct rig r;

    rig_up(&r);
    g_assert_cmpint(luks_erase_slot(&r.luks, r.area, 0, 0, r.changes, NULL), ==,
                    -EPERM);
    g_assert_cmpint(reopen(&r, &good), ==, 0);
    g_assert_cmpint(
        luks_erase_slot(&r.luks, r.area, 0, LUKS_ERASE_LAST, r.changes, NULL),
        ==, 0);
    g_assert_cmpint(reopen(&r, &good), ==, -EACCES);
    rig_down(&r);
}

/* What is written down for a spec is read as that again. */
static void test_names(void)
{
    static const struct cipher_spec specs[] = {
        {CIPHER_AES_256, CIPHER_CBC, CIPHER_ESSIV, HASH_SHA256},
        {CIPHER_SERPENT_192, CIPHER_CBC, CIPHER_PLAIN, HASH_SHA1},
        {CIPHER_TWOFISH_256, CIPHER_XTS, CIPHER_PLAIN64, HASH_SHA1},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(specs); i++) {
        struct luks_options o = {specs[i], HASH_RIPEMD160, 1};
        struct luks_key key;
        struct luks luks, got;
        uint8_t *area;

        g_assert_cmpint(luks_format(&o, &good, &luks, &area, &key, NULL), ==,
                        0);
        g_assert_cmpint(luks_parse(area, LUKS_HEADER_BYTES, &got, NULL), ==, 0);
        g_assert_cmpint(got.cipher.alg, ==, specs[i].alg);
        g_assert_cmpint(got.cipher.mode, ==, specs[i].mode);
        g_assert_cmpint(got.cipher.iv, ==, specs[i].iv);
        g_assert_cmpint(got.cipher.iv_hash, ==, specs[i].iv_hash);
        g_assert_cmpint(got.hash, ==, HASH_RIPEMD160);
        g_assert_cmpstr(got.uuid, ==, luks.uuid);
        g_free(area);
    }
}

/* -- Broken headers ------------------------------------------------------ */

static const struct broken_case {
    const char *name;
    size_t at;
    const char *bytes;
    size_t n;
    int rc;
    const char *says;
} broken_cases[] = {
    {"magic", 0, "LUKZ", 4, -EINVAL, "no LUKS header"},
    {"version-2", 6, "\0\2", 2, -EOPNOTSUPP, "version 2"},
    {"version-3", 6, "\0\3", 2, -EINVAL, "no LUKS header"},
    {"cipher", 8, "rot13", 6, -EOPNOTSUPP, "rot13"},
    {"cipher-escape", 8, "\33[2J", 5, -EOPNOTSUPP, "\\033"},
    {"cipher-no-end", 8, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 32, -EINVAL,
     "no end"},
    {"mode", 40, "ecb", 4, -EOPNOTSUPP, "ecb"},
    {"mode-of-nothing", 40, "-plain64", 9, -EOPNOTSUPP, "mode"},
    {"essiv-without-hash", 40, "cbc-essiv", 10, -EOPNOTSUPP, "mode"},
    {"plain-with-hash", 40, "xts-plain64:sha256", 19, -EOPNOTSUPP, "mode"},
    {"colon-first", 40, ":xts-plain", 11, -EOPNOTSUPP, "mode"},
    {"hash", 72, "md5", 4, -EOPNOTSUPP, "md5"},
    {"key-too-long", 108, "\0\0\0\101", 4, -EINVAL, "too long"},
    {"key-odd", 108, "\0\0\0\41", 4, -EINVAL, "33 bytes"},
    {"key-none", 108, "\0\0\0\0", 4, -EOPNOTSUPP, "aes-0"},
    {"payload-in-slots", 104, "\0\0\0\10", 4, -EINVAL, "reaches into"},
    {"iterations-none", 164, "\0\0\0\0", 4, -EINVAL, "iterations"},
    {"iterations-many", 164, "\377\377\377\377", 4, -EINVAL, "iterations"},
    {"uuid", 168, "\377", 1, -EINVAL, "UUID"},
    {"slot-state", SLOT(3), "\1\2\3\4", 4, -EINVAL, "slot 3"},
    {"slot-iterations", SLOT(0) + 4, "\0\0\0\0", 4, -EINVAL, "slot 0"},
    {"slot-in-header", SLOT(2) + 40, "\0\0\0\1", 4, -EINVAL, "within"},
    {"slot-far", SLOT(2) + 40, "\377\377\377\377", 4, -EINVAL, "slot 2"},
    {"slot-overlap", SLOT(1) + 40, "\0\0\0\11", 4, -EINVAL, "overlap"},
    {"stripes-none", SLOT(7) + 44, "\0\0\0\0", 4, -EINVAL, "slot 7"},
    {"stripes-many", SLOT(7) + 44, "\377\377\377\377", 4, -EINVAL, "slot 7"},
    {"stripes-too-many", SLOT(7) + 44, "\0\0\100\0", 4, -EINVAL,
     "reaches into"},
};

static void test_broken(gconstpointer data)
{
    const struct broken_case *c = data;
    struct luks luks = {.payload_offset = -1};
    GError *err = NULL;
    struct rig r;

    rig_up(&r);
    memcpy(r.area + c->at, c->bytes, c->n);
    g_assert_cmpint(luks_parse(r.area, LUKS_HEADER_BYTES, &luks, &err), ==,
                    c->rc);
    g_assert_nonnull(strstr(err->message, c->says));
    g_assert_cmpint(luks.payload_offset, ==, -1);
    g_clear_error(&err);
    rig_down(&r);
}

static void test_short(void)
{
    struct luks luks;
    struct rig r;

    rig_up(&r);
    g_assert_cmpint(luks_parse(r.area, LUKS_HEADER_BYTES - 1, &luks, NULL), ==,
                    -EINVAL);
    g_assert_cmpint(luks_parse(r.area, 0, &luks, NULL), ==, -EINVAL);
    rig_down(&r);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/luks/format", test_format);
    g_test_add_func("/luks/payload-offset", test_payload_offset);
    g_test_add_func("/luks/add-slot", test_add_slot);
    g_test_add_func("/luks/slots-run-out", test_slots_run_out);
    g_test_add_func("/luks/erase-slot", test_erase_slot);
    g_test_add_func("/luks/erase-last", test_erase_last);
    g_test_add_func("/luks/names", test_names);
    g_test_add_func("/luks/broken/short", test_short);
    for (size_t i = 0; i < G_N_ELEMENTS(broken_cases); i++) {
        g_autofree char *path =
            g_strconcat("/luks/broken/", broken_cases[i].name, NULL);

        g_test_add_data_func(path, &broken_cases[i], test_broken);
    }
    rc = g_test_run();
    secure_free(made.key, sizeof(*made.key));
    g_free(made.area);
    return rc;
}
