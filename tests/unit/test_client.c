/*
 * What is at stake: two processes in one client slot, a dead one's slot taken while its threads still own blocks, or a
 * table that is full of the dead.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "os/process.h"
#include "support/checks.h"
#include "support/plain_region.h"
#include "support/slot_fixture.h"
#include "support/suite.h"

START_TEST(clients_stand_apart_and_incarnations_never_come_again)
{
        struct client_id second, third;

        ck_assert_int_eq(client_register(r, &second), 0);
        ck_assert_uint_eq(second.idx, client.idx + 1);
        ck_assert(client_is_live(r, second.idx, second.incarnation));
        client_unregister(r, &second);
        ck_assert(!client_is_live(r, second.idx, second.incarnation));
        ck_assert_int_eq(client_register(r, &third), 0);
        ck_assert_uint_eq(third.idx, second.idx);
        ck_assert_uint_ne(third.incarnation, second.incarnation);
        client_unregister(r, &second); /* not its any more */
        ck_assert(client_is_live(r, third.idx, third.incarnation));
        ck_assert(!client_is_live(r, third.idx, second.incarnation));
        ck_assert(!client_is_live(r, N_CLIENTS, 1));
}
END_TEST

START_TEST(client_slot_describes_its_process)
{
        const struct client_slot *slot = &r->clients[client.idx];

        uint64_t stamp = (uint64_t)client.incarnation << 32;

        ck_assert_uint_eq(slot->process, stamp | (uint32_t)getpid());
        ck_assert_uint_eq(slot->image, stamp | process_image());
        ck_assert_uint_eq(slot->pid_ns, stamp | process_pid_ns());
        ck_assert_uint_eq(slot->uid, (uint32_t)geteuid());
        ck_assert_uint_ne(slot->start_ticks, 0);
        ck_assert_uint_eq(slot->start_ticks, process_start_ticks((uint32_t)getpid()));
        ck_assert_uint_ne(slot->name[0], 0);
}
END_TEST

/* As if another process had claimed the slot. */
static void
client_pretend_pid(const struct client_id *id, uint32_t pid)
{
        r->clients[id->idx].process = (uint64_t)id->incarnation << 32 | pid;
}

START_TEST(full_client_table_reuses_the_dead_and_refuses_otherwise)
{
        struct client_id ids[N_CLIENTS] = {client}, id;
        uint32_t gone = (uint32_t)region_gate(r, dead_slot())->os_tid;

        for (int i = 1; i < N_CLIENTS; i++)
                ck_assert_int_eq(client_register(r, &ids[i]), 0);
        ck_assert_int_eq(client_register(r, &id), -EUSERS);
        ck_assert_ptr_nonnull(strstr(error_message(), "all 8 clients"));
        client_pretend_pid(&ids[5], gone);
        ck_assert(!client_is_live(r, 5, ids[5].incarnation));
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_eq(id.idx, 5);
        ck_assert_uint_eq(id.incarnation, ids[5].incarnation + 1);
        ck_assert(client_is_live(r, id.idx, id.incarnation));
}
END_TEST

/* Whoever holds the slot now. */
static struct client_id
client_at(uint32_t idx)
{
        return (struct client_id){.idx = idx, .incarnation = (uint32_t)(r->clients[idx].word >> 32)};
}

/* Asking the kernel about every client would make the thousandth newcomer slow. */
START_TEST(newcomer_asks_about_few_as_long_as_there_is_room)
{
        enum { N = 64, N_HERE = 40 };
        struct client_id ids[N], id;
        uint32_t gone = (uint32_t)region_gate(r, dead_slot())->os_tid;
        uint32_t far, near;

        plain_region_drop(r);
        plain_region_make(r, N, N_THREADS, 1, 2);
        far = ((uint32_t)getpid() + N_HERE / 2) % N_HERE; /* not among the 16 that are asked about then */
        for (int i = 0; i < N_HERE; i++)
                ck_assert_int_eq(client_register(r, &ids[i]), 0);
        client_pretend_pid(&ids[far], gone);
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_eq(id.idx, N_HERE); /* a new one */
        client_unregister(r, &id);
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_eq(id.idx, N_HERE); /* an empty one */
        client_pretend_pid(&ids[far], (uint32_t)getpid());
        near = ((uint32_t)getpid() + 1) % (N_HERE + 1);
        id = client_at(near);
        client_pretend_pid(&id, gone);
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_eq(id.idx, near); /* a dead one that is come across */
        while (region_clients_hwm(r) < N)
                ck_assert_int_eq(client_register(r, &id), 0);
        far = ((uint32_t)getpid() + N / 2) % N;
        id = client_at(far);
        client_pretend_pid(&id, gone);
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_eq(id.idx, far); /* a dead one, because there is nothing else */
        ck_assert_int_eq(client_register(r, &id), -EUSERS);
}
END_TEST

START_TEST(dead_client_is_reused_only_when_its_threads_are_settled)
{
        struct settled settled = {0};
        struct client_id id;
        uint32_t idx = dead_slot();

        client_pretend_pid(&client, (uint32_t)region_gate(r, idx)->os_tid);
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_ne(id.idx, client.idx);
        ck_assert_int_eq(slot_reap_one(r, idx, settle_count, &settled), 1);
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_eq(id.idx, client.idx);
}
END_TEST

START_TEST(what_the_process_was_before_exec_is_reused_by_itself)
{
        struct client_id id;

        r->clients[client.idx].image ^= 1;
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_eq(id.idx, client.idx);
        r->clients[id.idx].image ^= 1; /* but not while it is still being filled in */
        r->clients[id.idx].pid_ns -= UINT64_C(1) << 32;
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_ne(id.idx, client.idx);
}
END_TEST

START_TEST(client_of_another_pid_namespace_is_live_and_left_alone)
{
        struct client_id id;

        client_pretend_pid(&client, (uint32_t)region_gate(r, dead_slot())->os_tid);
        r->clients[client.idx].pid_ns++;
        ck_assert(client_is_live(r, client.idx, client.incarnation));
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_uint_ne(id.idx, client.idx);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("client");
        TCase *tcase = tcase_create("client");

        tcase_add_checked_fixture(tcase, slot_setup, slot_teardown);
        tcase_add_test(tcase, clients_stand_apart_and_incarnations_never_come_again);
        tcase_add_test(tcase, client_slot_describes_its_process);
        tcase_add_test(tcase, full_client_table_reuses_the_dead_and_refuses_otherwise);
        tcase_add_test(tcase, newcomer_asks_about_few_as_long_as_there_is_room);
        tcase_add_test(tcase, dead_client_is_reused_only_when_its_threads_are_settled);
        tcase_add_test(tcase, what_the_process_was_before_exec_is_reused_by_itself);
        tcase_add_test(tcase, client_of_another_pid_namespace_is_live_and_left_alone);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
