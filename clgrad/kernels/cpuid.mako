## found[0] = 1 where the core that runs this has AVX-512 BF16, 0 where it has not: bit 5 of EAX in CPUID's leaf 7, sub-leaf
## 1. Whoever may run code for AVX-512 has leaf 7; its sub-leaf 0 says in EAX how many more there are. Code for less leaves
## -1: a driver that refused to build would say so on the terminal.
kernel void cpuid(global int *found)
{
#if defined(__x86_64__) && defined(__AVX512F__) && defined(__AVX512VL__)
    uint a = 7, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    const bool more = a >= 1;
    a = 7;
    c = 1;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    found[0] = more ? a >> 5 & 1 : 0;
#else
    found[0] = -1;
#endif
}
