/* As poisoned.py: fails at rows whose first parameter stands in poison.txt, in the way that stands beside it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    static char keys[1000][64], kinds[1000][16];
    int poisons = 0;
    FILE *file = fopen("poison.txt", "r");
    while (file && poisons < 1000 && fscanf(file, "%63s %15s", keys[poisons], kinds[poisons]) == 2) poisons++;
    char seed[32], k[64], s[64];
    while (scanf("%31s %63s %63s", seed, k, s) == 3) {
        const char *kind = "";
        for (int i = 0; i < poisons; i++)
            if (strcmp(keys[i], k) == 0) kind = kinds[i];
        if (!strcmp(kind, "crash")) {
            fprintf(stderr, "boom at %s\n", k);
            return 1;
        }
        if (!strcmp(kind, "kill")) raise(SIGKILL);
        if (!strcmp(kind, "hang")) sleep(1000);
        if (!strcmp(kind, "end")) return 0;
        if (!strcmp(kind, "nan")) puts("nan");
        else if (!strcmp(kind, "text")) puts("a b c");
        else if (!strcmp(kind, "few")) puts("1 2");
        else if (!strcmp(kind, "many")) puts("1 2 3 4");
        else printf("%.17g %s 1\n", atof(seed) + atof(k), s);
        fflush(stdout);
    }
    return 0;
}
