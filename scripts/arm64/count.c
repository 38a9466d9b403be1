/* A qemu plug-in that counts the instructions which a guest thread executes between two marks.
 *
 * A mark is the system call number 20000, which no kernel has, with a number of the caller's as its
 * first argument. Two lines "mark NUMBER INSTRUCTIONS" are so written to the file that the
 * argument out=FILE names; INSTRUCTIONS counts those of the marking thread alone, from its start.
 *
 * Written from qemu's documentation of TCG plug-ins (docs/devel/tcg-plugins). Debian's package has
 * no header for them, so what is used of the interface is declared here. EDGECV_PLUGIN_API is the
 * version of that interface: 1 up to qemu 8.2, 2 to 4 after it; what is used is in all of them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef EDGECV_PLUGIN_API
#error "name the version of the plug-in interface: -DEDGECV_PLUGIN_API=1"
#endif

#define EXPORTED __attribute__((visibility("default")))
#define MARK 20000
#define THREADS 1024
#define NO_REGISTERS 0

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

typedef void translated(plugin_id, struct qemu_plugin_tb *);
typedef void executed(unsigned int vcpu, void *data);
typedef void called(plugin_id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed *, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, called *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

EXPORTED int qemu_plugin_version = EDGECV_PLUGIN_API;

/* A cache line for each thread: nobody else writes to it. */
static struct {
    uint64_t instructions;
    char rest[56];
} of[THREADS];
static FILE *out;

static void on_block(unsigned int vcpu, void *data)
{
    of[vcpu % THREADS].instructions += (uintptr_t)data;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    uintptr_t length = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, (void *)length);
}

static void on_call(plugin_id id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == MARK) {
        fprintf(out, "mark %" PRIu64 " %" PRIu64 "\n", a1, of[vcpu % THREADS].instructions);
        fflush(out);
    }
}

EXPORTED int qemu_plugin_install(plugin_id id, const void *machine, int count, char **arguments)
{
    (void)machine;
    for (int i = 0; i < count; i++)
        if (!strncmp(arguments[i], "out=", 4))
            out = fopen(arguments[i] + 4, "w");
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
