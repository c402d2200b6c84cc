/* What Alambic asks of MPI, for a library of any make: compiled where it runs, since each library has numbers of its own. */
#include <mpi.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* Begins; 0 where it has. */
int alambic_mpi_open(void) {
    int level;
    return MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) || level < MPI_THREAD_FUNNELED;
}

unsigned alambic_mpi_rank(void) {
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

unsigned alambic_mpi_size(void) {
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

/* Machines, each with memory that its ranks share. All ranks ask together. */
unsigned alambic_mpi_nodes(void) {
    MPI_Comm node;
    int rank, nodes;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &rank);
    MPI_Comm_free(&node);
    rank = rank == 0;
    MPI_Allreduce(&rank, &nodes, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    return nodes;
}

/* Waits for all ranks, asleep: MPI_Barrier would keep a core busy. */
void alambic_mpi_wait(void) {
    MPI_Request request;
    int done = 0;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    for (;;) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (done) return;
        usleep(2000);
    }
}

/* The library's own words, at most `room` bytes; gives how many. */
size_t alambic_mpi_library(char *text, size_t room) {
    char words[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(words, &length);
    size_t count = (size_t)length < room ? (size_t)length : room;
    memcpy(text, words, count);
    return count;
}

void alambic_mpi_abort(int code) { MPI_Abort(MPI_COMM_WORLD, code); }

void alambic_mpi_close(void) { MPI_Finalize(); }
