#include <stdio.h>
double work(int);
int main(void) { printf("%.6f\n", work(3000000)); return 3; }
