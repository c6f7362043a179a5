// Every test here starts a whole cluster: one after the other, or they measure each other.
using Xunit;

[assembly: CollectionBehavior(DisableTestParallelization = true)]
