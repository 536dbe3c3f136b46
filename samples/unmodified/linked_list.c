/* Walks a shuffled linked list and updates each node. Usage: linked_list [nodes] [walks] */
#include <stdio.h>
#include <stdlib.h>

struct node {
  struct node* next;
  unsigned long value;
};

static struct node* build(struct node* nodes, long n) {
  long* order = malloc(n * sizeof(long));
  if (!order) return NULL;
  unsigned long seed = 17;
  for (long i = 0; i < n; i++) order[i] = i;
  for (long i = n - 1; i > 0; i--) {
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    long other = (seed >> 33) % (i + 1);
    long swap = order[i];
    order[i] = order[other];
    order[other] = swap;
  }
  for (long i = 0; i < n; i++) {
    nodes[order[i]].value = i;
    nodes[order[i]].next = i + 1 < n ? &nodes[order[i + 1]] : NULL;
  }
  struct node* head = &nodes[order[0]];
  free(order);
  return head;
}

int main(int argc, char** argv) {
  long n = argc > 1 ? atol(argv[1]) : 20000;
  int walks = argc > 2 ? atoi(argv[2]) : 20000;
  if (n < 1) {
    fprintf(stderr, "usage: linked_list [nodes] [walks]\n");
    return 1;
  }
  struct node* nodes = malloc(n * sizeof(struct node));
  struct node* head = nodes ? build(nodes, n) : NULL;
  if (!head) {
    fprintf(stderr, "out of memory\n");
    return 1;
  }
  for (int w = 0; w < walks; w++) {
    for (struct node* p = head; p != NULL; p = p->next) p->value = p->value * 3 + 1;
  }

  unsigned long hash = 0;
  for (struct node* p = head; p != NULL; p = p->next) hash = hash * 31 + p->value;
  printf("nodes = %ld, walks = %d\n", n, walks);
  printf("hash = %016lx\n", hash);
  printf("first = %lu, nodes[0] = %lu, nodes[n-1] = %lu\n", head->value, nodes[0].value, nodes[n - 1].value);
  free(nodes);
  return 0;
}
