// Most of these tests wait for timers and leases, not for the processor.
using Xunit.v3;

[assembly: Parallelization(MaxThreads = 4)]
