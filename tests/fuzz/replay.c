/*
 * replay: runs a fuzz target without libFuzzer: over every file named, every file in a
 * folder named, and, with -runs=N, over N inputs made from a seed by mutating those.
 * The same arguments mean the same to libFuzzer, so that one command line serves both.
 */
#include "base/prng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INPUT_BYTES_MAX = 1 << 16, INPUTS_MAX = 1024, PATH_BYTES_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    uint8_t *data;
    size_t size;
};

static struct input inputs[INPUTS_MAX];
static unsigned inputs_n;

static int add_file(const char *path)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    struct input *input;

    if (file == NULL) {
        perror(path);
        return 1;
    }
    if (inputs_n == INPUTS_MAX) {
        fprintf(stderr, "%s: more than %d inputs\n", path, INPUTS_MAX);
        (void)fclose(file);
        return 1;
    }
    input = &inputs[inputs_n];
    input->size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    input->data = malloc(input->size + 1);
    if (input->data == NULL) {
        return 1;
    }
    memcpy(input->data, bytes, input->size);
    inputs_n++;
    return 0;
}

static int add_path(const char *path)
{
    char file[PATH_BYTES_MAX];
    DIR *dir = opendir(path);
    struct dirent *entry;
    int rv = 0;

    if (dir == NULL) {
        return add_file(path);
    }
    while (rv == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
            rv = add_file(file);
        }
    }
    closedir(dir);
    return rv;
}

/* A copy of one input in memory of its exact size, so that sanitizers see its ends. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (copy != NULL) {
        if (size > 0) {
            memcpy(copy, data, size);
        }
        (void)LLVMFuzzerTestOneInput(copy, size);
        free(copy);
    }
}

/* Take one input, or noise, change some bytes, cut or repeat it. */
static size_t mutate(struct prng *prng, uint8_t *out)
{
    const struct input *from = inputs_n == 0 ? NULL : &inputs[prng_below(prng, inputs_n)];
    size_t size = 0;

    if (from != NULL && prng_below(prng, 8) != 0) {
        do {
            size_t n =
                from->size < INPUT_BYTES_MAX - size ? from->size : INPUT_BYTES_MAX - size;

            memcpy(out + size, from->data, n);
            size += n;
        } while (size > 0 && size < INPUT_BYTES_MAX && prng_below(prng, 3) == 0);
    } else {
        size = (size_t)prng_below(prng, 512);
        for (size_t i = 0; i < size; i++) {
            out[i] = (uint8_t)prng_next(prng);
        }
    }
    for (uint64_t left = prng_below(prng, 6); left > 0 && size > 0; left--) {
        out[prng_below(prng, size)] = (uint8_t)prng_next(prng);
    }
    return prng_below(prng, 4) == 0 ? (size_t)prng_below(prng, size + 1) : size;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    unsigned long runs = 0;
    unsigned long seed = 1;
    struct prng prng;

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-runs=", 6) == 0) {
            runs = strtoul(argv[i] + 6, NULL, 10);
        } else if (strncmp(argv[i], "-seed=", 6) == 0) {
            seed = strtoul(argv[i] + 6, NULL, 10);
        } else if (argv[i][0] != '-' && add_path(argv[i]) != 0) {
            return 1;
        }
    }
    for (unsigned i = 0; i < inputs_n; i++) {
        run(inputs[i].data, inputs[i].size);
    }
    prng_seed(&prng, seed);
    for (unsigned long i = 0; i < runs; i++) {
        run(bytes, mutate(&prng, bytes));
    }
    printf("%u inputs, %lu mutations from seed %lu\n", inputs_n, runs, seed);
    return 0;
}
