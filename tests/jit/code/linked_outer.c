// The outer of two libraries that the tests of ElfProgram link. It is not linked against everything it needs.
int inner(void);
int versioned(void);
int indirect(void);
int nowhere(void);
extern int data_not_code;

int overridden(void) { return 0x22220001; }
int outer(void) { return inner() + versioned() + overridden() + indirect() + nowhere() + data_not_code; }
