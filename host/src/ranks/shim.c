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

/* Which of the ranks of its machine this is. All ranks ask together. */
unsigned alambic_mpi_local_rank(void) {
    MPI_Comm node;
    int rank;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &rank);
    MPI_Comm_free(&node);
    return rank;
}

/* A number of each rank, in the order of the ranks. */
void alambic_mpi_counts(int own, int *counts) {
    MPI_Allgather(&own, 1, MPI_INT, counts, 1, MPI_INT, MPI_COMM_WORLD);
}

/* Bytes of each rank, so many and at these places. */
void alambic_mpi_gather(const void *own, int count, void *all, const int *counts, const int *places) {
    MPI_Allgatherv(own, count, MPI_BYTE, all, counts, places, MPI_BYTE, MPI_COMM_WORLD);
}

/* The same with f32. */
void alambic_mpi_gather_numbers(const float *own, int count, float *all, const int *counts, const int *places) {
    MPI_Allgatherv(own, count, MPI_FLOAT, all, counts, places, MPI_FLOAT, MPI_COMM_WORLD);
}

/* Hands each rank the f32 that are for it, and takes what each has for this one. */
void alambic_mpi_exchange(const float *own, const int *counts, const int *places, float *all, const int *all_counts,
                          const int *all_places) {
    MPI_Alltoallv(own, counts, places, MPI_FLOAT, all, all_counts, all_places, MPI_FLOAT, MPI_COMM_WORLD);
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
