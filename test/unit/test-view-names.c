/* SPDX-License-Identifier: MIT */
/*
 * view: names: partitions, links, listings, and a table that changes.
 */
#include "view-rig.h"

/* -- Listings ------------------------------------------------------------ */

static void co_fn test_root(struct rig *r)
{
    g_assert_cmpstr(rig_list(r, ""), ==,
                    ". .. .coblk disk by-partlabel by-partuuid p1 p2 ");
    g_assert_cmpstr(rig_list(r, ".coblk"), ==, ". .. stats.json info.json ");
    g_assert_cmpstr(rig_list(r, "by-partlabel"), ==, ". .. one two ");
}

static void co_fn test_missing(struct rig *r)
{
    struct view_attr a;

    g_assert_cmpint(view_co_lookup(r->view, VIEW_ROOT, "p3", &a), ==, -ENOENT);
    /* Empty link directories are not there. */
    g_assert_cmpint(view_co_lookup(r->view, VIEW_ROOT, "by-label", &a), ==,
                    -ENOENT);
    g_assert_cmpint(view_co_lookup(r->view, rig_ino(r, "disk"), "x", &a), ==,
                    -ENOTDIR);
    g_assert_cmpint(view_co_readdir(r->view, rig_ino(r, "disk"), 0, NULL, NULL),
                    ==, -ENOTDIR);
    g_assert_cmpint(view_co_getattr(r->view, 4711, &a), ==, -ESTALE);
}

/* One entry at a time gives what a single call gives. */
static void co_fn test_pieces(struct rig *r)
{
    struct rig_listing l = {.names = g_string_new(NULL)};
    size_t before;

    do {
        before = l.names->len;
        l.room = 1;
        g_assert_cmpint(
            view_co_readdir(r->view, VIEW_ROOT, l.cookie, rig_list_one, &l), ==,
            0);
    } while (l.names->len > before);
    g_assert_cmpstr(l.names->str, ==, rig_list(r, ""));
    g_string_free(l.names, TRUE);
}

/* A partition that changes in the middle of a listing is not repeated under
 * another cookie before the point that was reached, and no other is lost. */
static void co_fn test_pieces_change(struct rig *r)
{
    static const struct rig_part moved[] = {{2048, 1024, "one"},
                                            {4096, 4096, "two"}};
    struct rig_listing l = {.names = g_string_new(NULL), .room = 7};

    g_assert_cmpint(view_co_readdir(r->view, VIEW_ROOT, 0, rig_list_one, &l),
                    ==, 0);
    g_assert_true(g_str_has_suffix(l.names->str, " p1 "));
    rig_put_gpt(r, moved, 2);
    rig_touch(r, "disk", RIG_BYTES / 2);
    l.room = 100;
    g_assert_cmpint(
        view_co_readdir(r->view, VIEW_ROOT, l.cookie, rig_list_one, &l), ==, 0);
    /* It is a new file under an old name: the listing shows both. */
    g_assert_cmpstr(strstr(l.names->str, " p1 "), ==, " p1 p2 p1 ");
    g_string_free(l.names, TRUE);
}

/* -- Links --------------------------------------------------------------- */

static char *co_fn target_of(struct rig *r, const char *path)
{
    char *target = NULL;

    if (view_readlink(r->view, rig_ino(r, path), &target) < 0) {
        return g_strdup("(none)");
    }
    return target;
}

#define assert_link(r, path, want)                     \
    do {                                               \
        g_autofree char *target_ = target_of(r, path); \
        g_assert_cmpstr(target_, ==, want);            \
    } while (0)

static void co_fn test_links(struct rig *r)
{
    assert_link(r, "by-partlabel/one", "../p1");
    assert_link(r, "by-partlabel/two", "../p2");
    assert_link(r, "by-partuuid/11111111-1111-1111-1111-111111111111", "../p1");
    assert_link(r, "p1", "(none)");
    g_assert_cmpint(rig_stat(r, "by-partlabel/one").size, ==, 5);
    g_assert_cmpint((int)rig_stat(r, "by-partlabel/one").mode, ==,
                    S_IFLNK | 0777);
}

static void co_fn test_escaped(struct rig *r)
{
    static const struct rig_part parts[] = {{2048, 8, "../etc/passwd"},
                                            {4096, 8, ".."},
                                            {4104, 8, "EFI System"},
                                            {4112, 8, ""}};

    rig_put_gpt(r, parts, 4);
    rig_remount(r);
    assert_link(r, "by-partlabel/..\\x2fetc\\x2fpasswd", "../p1");
    assert_link(r, "by-partlabel/\\x2e\\x2e", "../p2");
    assert_link(r, "by-partlabel/EFI\\x20System", "../p3");
    /* p4 has no name. */
    g_assert_cmpstr(rig_list(r, "by-partlabel"), ==,
                    ". .. ..\\x2fetc\\x2fpasswd \\x2e\\x2e EFI\\x20System ");
}

static void co_fn test_twice(struct rig *r)
{
    static const struct rig_part parts[] = {{2048, 8, "same"},
                                            {4096, 8, "same"}};

    rig_put_gpt(r, parts, 2);
    rig_remount(r);
    assert_link(r, "by-partlabel/same", "../p1");
    g_assert_cmpstr(rig_take(r->log), ==,
                    "p2: by-partlabel/same is p1 already, no link\n");
    /* What was said once is not said again. */
    rig_touch(r, "disk", RIG_BYTES / 2);
    g_assert_cmpstr(rig_take(r->log), ==, "");
}

static void co_fn test_labels(struct rig *r)
{
    rig_put_swap(r, 1 * MiB, "my swap", 0xab);
    rig_remount(r);
    g_assert_cmpstr(rig_list(r, "by-label"), ==, ". .. my\\x20swap ");
    assert_link(r, "by-label/my\\x20swap", "../p1");
    assert_link(r, "by-uuid/abababab-abab-abab-abab-abababababab", "../p1");
    g_assert_nonnull(strstr(rig_list(r, ""), " by-label by-uuid "));
}

/* A file system without a partition table. */
static void co_fn test_label_of_disk(struct rig *r)
{
    memset(r->bytes, 0, RIG_BYTES);
    rig_put_swap(r, 0, "floppy", 1);
    rig_remount(r);
    g_assert_cmpstr(rig_list(r, ""), ==, ". .. .coblk disk by-label by-uuid ");
    assert_link(r, "by-label/floppy", "../disk");
}

/* What a partition holds is looked at anew after it was written. */
static void co_fn test_relabel(struct rig *r)
{
    uint64_t by_label;
    g_autofree char *want = NULL;

    rig_put_swap(r, 1 * MiB, "before", 1);
    rig_remount(r);
    assert_link(r, "by-label/before", "../p1");
    by_label = rig_ino(r, "by-label");
    rig_put_swap(r, 1 * MiB, "after", 1);
    assert_link(r, "by-label/before", "../p1");

    rig_touch(r, "p1", 64 * KiB);
    /* The kernel asks again, ... */
    want = g_strdup_printf("gone %d before\n", (int)by_label);
    g_assert_nonnull(strstr(rig_take(r->events), want));
    /* ... and then it is found out. */
    assert_link(r, "by-label/before", "(none)");
    assert_link(r, "by-label/after", "../p1");
}

/* An error of reading leaves what a partition holds unknown, no more. */
static void co_fn test_label_unreadable(struct rig *r)
{
    r->fail_read = -EIO;
    g_assert_cmpint(rig_ino(r, "by-label"), ==, 0);
    g_assert_nonnull(strstr(r->log->str, "p1: cannot find out what it holds"));
    g_assert_cmpint(rig_ino(r, "p1"), >, 0);
    r->fail_read = 0;
}

/* -- A table that changes ------------------------------------------------ */

static const struct rig_part shrunk[] = {{2048, 2048, "one"},
                                         {4096, 1024, "two"}};

static void co_fn test_reread(struct rig *r)
{
    uint64_t p1 = rig_ino(r, "p1"), p2 = rig_ino(r, "p2");
    struct view_file *f;
    struct view_attr a;
    g_autofree char *want = NULL;

    rig_put_gpt(r, shrunk, 2);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 2 * MiB); /* not yet */
    rig_touch(r, "disk", RIG_BYTES / 2);

    g_assert_cmpint(rig_stat(r, "p2").size, ==, 512 * KiB);
    g_assert_cmpint(rig_ino(r, "p1"), ==, p1); /* it did not change */
    g_assert_cmpint(rig_ino(r, "p2"), !=, p2);
    /* The old one is not the new one. */
    g_assert_cmpint(view_co_getattr(r->view, p2, &a), ==, -ESTALE);
    g_assert_cmpint(view_co_open(r->view, p2, VIEW_OPEN_READ, &f), ==, -ESTALE);
    want =
        g_strdup_printf("data %d 0+%d\ngone 1 p2\n", (int)p2, (int)(2 * MiB));
    g_assert_nonnull(strstr(rig_take(r->events), want));
}

/* A reading of the table that finds nothing new changes nothing. */
static void co_fn test_reread_same(struct rig *r)
{
    g_autofree char *before = g_strdup(rig_list(r, ""));
    uint64_t link = rig_ino(r, "by-partlabel/one");

    rig_touch(r, "disk", RIG_BYTES / 2);
    g_assert_cmpstr(rig_list(r, ""), ==, before);
    g_assert_cmpint(rig_ino(r, "by-partlabel/one"), ==, link);
    g_assert_cmpstr(rig_take(r->events), ==, "");
}

/* Only the name changes: the file stays, the link does not. */
static void co_fn test_rename(struct rig *r)
{
    static const struct rig_part renamed[] = {{2048, 2048, "uno"},
                                              {4096, 4096, "two"}};
    uint64_t p1 = rig_ino(r, "p1");

    rig_put_gpt(r, renamed, 2);
    rig_touch(r, "disk", RIG_BYTES / 2);
    g_assert_cmpint(rig_ino(r, "p1"), ==, p1);
    g_assert_cmpstr(rig_list(r, "by-partlabel"), ==, ". .. two uno ");
    assert_link(r, "by-partlabel/uno", "../p1");
    g_assert_nonnull(strstr(rig_take(r->events), " one\n"));
}

static void co_fn test_partition_open(struct rig *r)
{
    struct view_file *f = rig_open(r, "p2", VIEW_OPEN_READ);

    rig_put_gpt(r, shrunk, 2);
    rig_touch(r, "disk", RIG_BYTES / 2);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 2 * MiB);
    g_assert_cmpint(view_file_length(f), ==, 2 * MiB);
    rig_close(f);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 512 * KiB);
}

/* Any partition holds the old table, also one that did not change. */
static void co_fn test_last_partition(struct rig *r)
{
    struct view_file *f1 = rig_open(r, "p1", VIEW_OPEN_READ);
    struct view_file *f2 = rig_open(r, "p2", VIEW_OPEN_READ);

    rig_put_gpt(r, shrunk, 2);
    rig_touch(r, "disk", RIG_BYTES / 2);
    rig_close(f2);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 2 * MiB);
    rig_close(f1);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 512 * KiB);
}

static void co_fn open_p2(struct rig *r)
{
    r->file = rig_open(r, "p2", VIEW_OPEN_READ);
}

/* While the table is being read p2 is opened: its data must not move. */
static void co_fn test_open_in_reread(struct rig *r)
{
    rig_put_gpt(r, shrunk, 2);
    r->in_read = open_p2;
    rig_touch(r, "disk", RIG_BYTES / 2);
    g_assert_nonnull(r->file);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 2 * MiB);
    rig_close(r->file);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 512 * KiB);
}

/* When p2 is closed, the table is read after all; nothing else is closed. */
static void co_fn test_open_in_reread_then_close(struct rig *r)
{
    struct view_file *f = rig_open(r, "disk", RW);

    rig_put_gpt(r, shrunk, 2);
    g_assert_cmpint(rig_write(f, RIG_BYTES / 2, "x", 1), ==, 0);
    r->in_read = open_p2;
    g_assert_cmpint(view_co_close(f), ==, 0);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 2 * MiB);
    rig_close(r->file);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 512 * KiB);
    view_co_release(f);
}

static void write_again_entry(void *opaque)
{
    struct rig *r = opaque;

    co_assert_role();
    g_assert_cmpint(rig_write(r->file, RIG_BYTES / 2, "x", 1), ==, 0);
    g_assert_cmpint(view_co_close(r->file), ==, 0);
}

static void co_fn second_reading(struct rig *r)
{
    r->fail_read = 0;
}

/* The reading of the first sector alone, which fails as well. */
static void co_fn first_sector(struct rig *r)
{
    r->in_read = second_reading;
}

/* The reading under way sees nothing of what is written now, by somebody else
 * whose close waits for it. */
static void co_fn write_again(struct rig *r)
{
    rig_put_gpt(r, shrunk, 2);
    r->fail_read = -EIO;
    r->in_read = first_sector;
    loop_co_start(co_new(write_again_entry, r));
}

/* What is written while the table is being read makes it be read again. */
static void co_fn test_write_in_reread(struct rig *r)
{
    struct view_file *f = rig_open(r, "disk", RW);

    r->file = rig_open(r, "disk", RW);
    g_assert_cmpint(rig_write(f, RIG_BYTES / 2, "x", 1), ==, 0);
    r->in_read = write_again;
    g_assert_cmpint(view_co_close(f), ==, 0);
    for (int i = 0; i < 20; i++) {
        loop_co_relax(); /* until the other is through */
    }
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 512 * KiB);
    view_co_release(f);
    view_co_release(r->file);
}

/* Who still knows the number of a partition that has vanished does not get
 * what is there now. */
static void co_fn test_open_vanished(struct rig *r)
{
    uint64_t p2 = rig_ino(r, "p2");
    struct view_file *f;

    rig_put_gpt(r, shrunk, 2);
    rig_touch(r, "disk", RIG_BYTES / 2);
    g_assert_cmpint(rig_ino(r, "p2"), !=, p2);
    g_assert_cmpint(view_co_open(r->view, p2, VIEW_OPEN_READ, &f), ==, -ESTALE);
}

/* The table is written and the file stays open: dd of=/dev/fd/3. */
static void co_fn test_one_of_two_closed(struct rig *r)
{
    struct view_file *f = rig_open(r, "disk", RW);

    rig_put_gpt(r, shrunk, 2);
    g_assert_cmpint(rig_write(f, RIG_BYTES / 2, "x", 1), ==, 0);
    g_assert_cmpint(view_co_close(f), ==, 0);
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 512 * KiB);
    view_co_release(f);
}

static void co_fn test_read_only_close(struct rig *r)
{
    rig_put_gpt(r, shrunk, 2);
    rig_close(rig_open(r, "disk", RW)); /* nothing was written */
    g_assert_cmpint(rig_stat(r, "p2").size, ==, 2 * MiB);
}

static void co_fn test_table_gone(struct rig *r)
{
    memset(r->bytes, 0, RIG_BYTES);
    rig_touch(r, "disk", RIG_BYTES / 2);
    g_assert_cmpstr(rig_list(r, ""), ==, ". .. .coblk disk ");
}

/* A table that cannot be read is no reason to forget the partitions. */
static void co_fn test_table_unreadable(struct rig *r)
{
    struct view_file *f = rig_open(r, "disk", RW);

    g_assert_cmpint(rig_write(f, 0, r->bytes, 512), ==, 0);
    r->fail_read = -EIO;
    rig_close(f);
    r->fail_read = 0;
    g_assert_nonnull(strstr(r->log->str, "cannot read the changed partition"));
    g_assert_cmpint(rig_ino(r, "p1"), >, 0);
}

static void co_fn test_mount_unreadable(struct rig *r)
{
    rig_unmount(r);
    r->fail_read = -EIO;
    rig_mount(r);
    r->fail_read = 0;
    g_assert_nonnull(strstr(r->log->str, "cannot read the partition table"));
    g_assert_cmpstr(rig_list(r, ""), ==, ". .. .coblk disk ");
}

/* -- One file ------------------------------------------------------------ */

static void co_fn test_single_disk(struct rig *r)
{
    struct view_attr a;

    r->opts.single_file = true;
    rig_remount(r);
    a = rig_stat(r, "");
    g_assert_cmpint((int)a.mode, ==, S_IFREG | 0600);
    g_assert_cmpint(a.size, ==, RIG_BYTES);
    g_assert_cmpint(view_co_lookup(r->view, VIEW_ROOT, "p1", &a), ==, -ENOTDIR);
    rig_touch(r, "", 0);
}

static void co_fn test_single_part(struct rig *r)
{
    struct view_file *f;

    r->opts.single_file = r->opts.part_wanted = true;
    r->opts.part = 2;
    rig_remount(r);
    g_assert_cmpint(rig_stat(r, "").size, ==, 2 * MiB);
    f = rig_open(r, "", RW);
    g_assert_cmpint(rig_write(f, 5, "hello", 5), ==, 0);
    rig_close(f);
    g_assert_cmpint(memcmp(r->bytes + 2 * MiB + 5, "hello", 5), ==, 0);
}

static void co_fn test_single_missing(struct rig *r)
{
    g_autoptr(GError) err = NULL;

    rig_unmount(r);
    r->opts.single_file = r->opts.part_wanted = true;
    r->opts.part = 3;
    g_assert_cmpint(rig_try_mount(r, &err), ==, -ENOENT);
    g_assert_cmpstr(err->message, ==, "no partition 3: there is p1, p2");
}

static const struct rig_test tests[] = {
    {"/view/names/root", test_root},
    {"/view/names/missing", test_missing},
    {"/view/names/listing-in-pieces", test_pieces},
    {"/view/names/change-while-listing", test_pieces_change},
    {"/view/links/targets", test_links},
    {"/view/links/escaped", test_escaped},
    {"/view/links/first-of-two-wins", test_twice},
    {"/view/links/labels", test_labels},
    {"/view/links/label-of-disk", test_label_of_disk},
    {"/view/links/relabel", test_relabel},
    {"/view/links/unreadable", test_label_unreadable},
    {"/view/table/reread", test_reread},
    {"/view/table/reread-same", test_reread_same},
    {"/view/table/rename", test_rename},
    {"/view/table/partition-open", test_partition_open},
    {"/view/table/last-partition-closes", test_last_partition},
    {"/view/table/open-while-rereading", test_open_in_reread},
    {"/view/table/open-while-rereading-then-close",
     test_open_in_reread_then_close},
    {"/view/table/write-while-rereading", test_write_in_reread},
    {"/view/table/open-vanished", test_open_vanished},
    {"/view/table/one-descriptor-closed", test_one_of_two_closed},
    {"/view/table/close-without-write", test_read_only_close},
    {"/view/table/gone", test_table_gone},
    {"/view/table/unreadable-later", test_table_unreadable},
    {"/view/table/unreadable-at-mount", test_mount_unreadable},
    {"/view/single/disk", test_single_disk},
    {"/view/single/partition", test_single_part},
    {"/view/single/missing", test_single_missing},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rig_add_tests(tests, G_N_ELEMENTS(tests));
    return g_test_run();
}
