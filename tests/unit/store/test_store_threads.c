/* Settling on one thread while the owner goes on with everything else. */
#include "test_store_fake.h"

#include <pthread.h>

static void *run(void *settle)
{
    CHECK_INT(store_settle_run(settle), 0);
    return NULL;
}

/* Reads beside a settle see every byte as the model has it, whether the settle has
 * written a block, is about to, or is in the middle of it. */
static void reads_and_writes_beside_a_settle(void)
{
    struct journal journal = {0};
    struct model model;
    struct prng prng;
    struct store *store;
    char dir[512];

    prng_seed(&prng, 21);
    model_init(&model);
    (void)snprintf(dir, sizeof dir, "%s/set", check_tmpdir());
    store = fake_open(&journal, dir, true);
    for (int round = 0; round < 30; round++) {
        struct store_settle *settle;
        pthread_t thread;

        for (int i = 0; i < 6; i++) {
            struct write w = random_write(&prng);
            uint64_t old_size = model_write(&model, &prng, &w);

            store_apply_write(store, &journal, &model, &w, old_size);
        }
        CHECK_INT(store_settle_plan(store, 4 << 20, &settle), 0);
        CHECK_INT(pthread_create(&thread, NULL, run, settle), 0);
        for (int i = 0; i < 4; i++) {
            int file = (int)prng_below(&prng, MODEL_FILES);
            struct write w = random_write(&prng);
            uint64_t old_size;

            check_files(store, &model);
            if (i % 2 == 0) {
                old_size = model_resize(&model, file, random_size(&prng));
                store_apply_resize(store, &model, file, old_size);
            } else {
                old_size = model_write(&model, &prng, &w);
                store_apply_write(store, &journal, &model, &w, old_size);
            }
        }
        check_files(store, &model);
        CHECK_INT(pthread_join(thread, NULL), 0);
        CHECK_INT(store_settle_finish(store, settle), 0);
        check_files(store, &model);
    }
    store_close(store);
    model_deinit(&model);
    journal_clear(&journal);
}

TEST_MAIN(CHECK_TEST(reads_and_writes_beside_a_settle))
