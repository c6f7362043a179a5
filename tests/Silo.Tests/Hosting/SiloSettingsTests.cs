// Goal: a silo and its grains do what their configuration says, and whatever is wrong with it is reported at once, by
// its key, with what would be right. Method: settings as an operator writes them, and a silo as it ships.
using System.Reflection;
using Atelier.Configuration;
using Atelier.Contracts.Queueing;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Queueing;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Atelier.Silo.Hosting;
using Atelier.Silo.Store;
using Microsoft.Extensions.Configuration;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

[Collection(ClusterPortsTests.RunningSilo.Serially)]
public sealed class SiloSettingsTests
{
    [Fact]
    public void EveryOptionsClass_IsRead()
    {
        Assembly silo = typeof(SiloHost).Assembly;
        Type[] classes =
        [
            .. silo.GetReferencedAssemblies()
                .Where(name => name.Name!.StartsWith("Atelier.", StringComparison.Ordinal)).Select(Assembly.Load)
                .Append(silo).SelectMany(assembly => assembly.GetExportedTypes())
                .Where(type => type.IsDefined(typeof(SectionAttribute))),
        ];
        StartOptions read = Read();
        Assert.Superset(
            new HashSet<Type> { typeof(SiloSettings), typeof(WorkQueueOptions), typeof(TorchDeviceOptions) },
            classes.ToHashSet());
        Assert.All(classes, options => Assert.NotNull(read.Get(options)));
    }

    // The keys of releases without options classes.
    [Fact]
    public void EarlierKeys_StillSetWhatTheyDid()
    {
        StartOptions read = Read(
            ("Silo:Name", "one"), ("Silo:Roles", "control,Inference"), ("Silo:ShutdownTimeout", "00:00:40"),
            ("Cluster:Id", "mine"), ("Store:Folder", "there"), ("Store:MemoryMegabytes", "7"),
            ("Store:ReserveMegabytes", "0"), ("Models:Folders:1", "second"), ("Models:Aliases:0", "name"),
            ("Retention:Generations", "00:06:00"), ("Retention:Sessions", "1.12:00:00"), ("OpenSet:Partitions", "512"),
            ("Device:Name", "gpu"), ("Device:Work", "encode, decode"), ("Device:Slots", "3"), ("Device:Rows", "4"),
            ("Device:Threads", "1"), ("Device:MemoryMegabytes", "9"), ("Device:WorkTimeout", "00:01:00"),
            ("Device:LoadTimeout", "00:02:00"), ("Blobs:Folder", "blobs"), ("Blobs:Container", "pictures"),
            ("Blobs:Azure", "UseDevelopmentStorage=true"), ("Store:Redis", "127.0.0.1:6379,password=x"));
        SiloSettings silo = read.Get<SiloSettings>();
        Assert.Equal(
            ("one", SiloRoles.Control | SiloRoles.Inference, TimeSpan.FromSeconds(40), "mine"),
            (silo.Name, silo.Roles, silo.ShutdownTimeout, silo.ClusterId));
        Assert.Equal(["model", "second"], silo.ModelFolders);
        Assert.Equal(["name"], silo.ModelAliases);
        Assert.Equal("127.0.0.1:6379,password=x", silo.Redis);
        AzureBlobStoreOptions azure = read.Get<AzureBlobStoreOptions>();
        Assert.Equal(("UseDevelopmentStorage=true", "pictures"), (azure.Connection, azure.Container));
        Assert.Equal("blobs", read.Get<FolderBlobStoreOptions>().Folder);
        SqliteStoreOptions store = read.Get<SqliteStoreOptions>();
        Assert.Equal(
            ("there", "mine", 7L << 20, 0L), (store.Folder, store.ClusterId, store.MemoryBytes, store.ReserveBytes));
        RetentionOptions retention = read.Get<RetentionOptions>();
        Assert.Equal((TimeSpan.FromMinutes(6), TimeSpan.FromHours(36)), (retention.Generations, retention.Sessions));
        Assert.Equal(512, read.Get<OpenSetOptions>().Partitions);
        TorchDeviceOptions device = read.Get<TorchDeviceOptions>();
        Assert.Equal(
            ("gpu", WorkRoles.Encode | WorkRoles.Decode, 3, 4, 1, 9L << 20),
            (device.Name, device.Roles, device.Slots, device.Rows, device.Threads, device.MemoryBytes));
        Assert.Equal((TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(2)), (device.WorkTimeout, device.LoadTimeout));
    }

    [Theory]
    [InlineData("OpenSet:Partitions", "0", "1..65536")]
    [InlineData("OpenSet:WalkPeriod", "00:00:00.9", "00:00:01..")]
    [InlineData("OpenSet:SubmitTimeout", "00:00:00.9", "00:00:01..")]
    [InlineData("Retention:Generations", "00:00:59", "00:01:00..")]
    [InlineData("Retention:Sessions", "00:59:00", "01:00:00..")]
    [InlineData("Retention:Sessions", "soon", "a time in")]
    [InlineData("Retention:Step", "00:00:00.9", "00:00:01..")]
    [InlineData("Queue:SizeMax", "0", "1..")]
    [InlineData("Queue:TenantSizeMax", "0", "1..")]
    [InlineData("Queue:LeaseTime", "00:00:00.099", "00:00:00.1..")]
    [InlineData("Queue:LeaseTime", "5.00:00:00", "..1.00:00:00")]
    [InlineData("Queue:Slack", "0.26", "0..0.25")]
    [InlineData("Queue:LoadsKept", "-1", "0..1000")]
    [InlineData("Generations:QuarantineAfter", "0", "1..")]
    [InlineData("Generations:DeathsAloneMax", "0", "1..")]
    [InlineData("Generations:FailuresMax", "0", "1..")]
    [InlineData("Generations:ClaimQuiet", "-00:00:01", "00:00:00..")]
    [InlineData("Generations:ClaimQuiet", "00:00:05", "shorter than Queue:LeaseTime (00:00:05)")]
    [InlineData("Generations:DeviceKindPatience", "-00:00:01", "00:00:00..")]
    [InlineData("Models:ConfirmPeriod", "00:00:00", "00:00:00.001..")]
    [InlineData("Models:ConfirmedFor", "00:00:59", "at least twice Models:ConfirmPeriod (00:00:30)")]
    [InlineData("Models:RetiredPatience", "00:01:59", "at least Models:ConfirmedFor (00:02:00)")]
    [InlineData("Worker:IdlePeriod", "00:00:00", "00:00:00.001..")]
    [InlineData("Worker:SnapshotPeriod", "-00:00:01", "00:00:00..")]
    [InlineData("Worker:RetryPause", "00:00:00", "00:00:00.001..")]
    [InlineData("Worker:TriesMax", "0", "1..")]
    [InlineData("Worker:DrainTimeout", "00:00:00", "00:00:00.001..")]
    [InlineData("Worker:RefusedModelPause", "-00:00:01", "00:00:00..")]
    [InlineData("Store:PendingMax", "0", "1..")]
    [InlineData("Store:BusyTimeout", "00:00:00", "00:00:00.001..")]
    [InlineData("Store:LogMegabytesMax", "-1", "0..")]
    [InlineData("Blobs:Container", "Bad_Name", "3 to 63 lower-case letters")]
    [InlineData("Blobs:LeftoverAge", "-00:00:01", "00:00:00..")]
    [InlineData("Blobs:RetriesMax", "101", "0..100")]
    [InlineData("Blobs:TryTimeout", "00:00:00", "00:00:00.001..")]
    [InlineData("Device:Work", "draw", "encode, denoise, decode")]
    [InlineData("Silo:HttpPort", "70000", "1..65535")]
    [InlineData("Silo:Roles", "idle", "control, inference, training")]
    [InlineData("Metrics:Port", "8081", "a port other than that of Silo:HttpPort")]
    [InlineData("Metrics:Address", "localhost", "an IP address")]
    [InlineData("Cluster:Tls", "sometimes", "true or false")]
    [InlineData("Preemption:Provider", "oracle", "one of none, azure, aws, gcp")]
    [InlineData("Preemption:Provider", "azure,aws", "one of none, azure, aws, gcp")]
    [InlineData("Preemption:Provider", "1", "one of none, azure, aws, gcp")]
    [InlineData("Preemption:Endpoint", "169.254.169.254", "a URL such as http://169.254.169.254")]
    [InlineData("Preemption:Endpoint", "file:///metadata", "a URL such as http://169.254.169.254")]
    [InlineData("Preemption:Period", "00:02:00", "..00:01:00")]
    [InlineData("Preemption:Timeout", "00:00:00", "00:00:00.010..")]
    public void AWrongSetting_IsNamed_WithValidValues(string key, string value, string right)
    {
        string fault = Assert.Single(
            Assert.Throws<InvalidConfigurationException>(() => Read((key, value))).Faults);
        Assert.StartsWith($"{key} is {value}; it must be ", fault, StringComparison.Ordinal);
        Assert.Contains(right, fault, StringComparison.Ordinal);
    }

    [Fact]
    public void FaultsOfAllClasses_AreReportedAtOnce_WithoutTheSecret()
    {
        InvalidConfigurationException error = Assert.Throws<InvalidConfigurationException>(() => Read(
            ("Silo:Name", "/"), ("Silo:Address", "here"), ("Cluster:Secret", "c2VjcmV0"), ("Store:PendingMax", "few"),
            ("Cluster:AcceptedSecret", "c2VjcmV0"),
            ("Device:Threads", "0"), ("Metrics:Port", "-1"), ("Queue:LeaseTime", "0"), ("Queue:Slack", "1"),
            ("Generations:FailuresMax", "0"), ("OpenSet:Partitions", "x"), ("Retention:Step", "0"),
            ("Models:ConfirmPeriod", "0"), ("Worker:TriesMax", "0"), ("Blobs:Folder", " "),
            ("Blobs:Azure", "AccountKey=c2VjcmV0"), ("Blobs:Container", "-"),
            ("Store:Redis", "127.0.0.1:6379,password=c2VjcmV0,port=no")));
        Assert.Equal(
            [
                "Blobs:Azure", "Blobs:Container", "Blobs:Folder", "Cluster:AcceptedSecret", "Cluster:Secret",
                "Device:Threads", "Generations:FailuresMax", "Metrics:Port", "Models:ConfirmPeriod",
                "OpenSet:Partitions", "Queue:LeaseTime", "Queue:Slack", "Retention:Step", "Silo:Address", "Silo:Name",
                "Store:PendingMax", "Store:Redis", "Worker:TriesMax",
            ],
            error.Faults.Select(fault => fault.Split(' ')[0]).Order(StringComparer.Ordinal));
        Assert.DoesNotContain("c2VjcmV0", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Queue:LeaseTime", "00:02:00", "wait for this time")]
    [InlineData("Queue:TenantSizeMax", "200001", "Queue:SizeMax")]
    [InlineData("Queue:Slack", "0", "at every step")]
    [InlineData("Generations:ClaimQuiet", "00:00:00", "counts as dead")]
    [InlineData("OpenSet:WalkPeriod", "00:00:05", "load")]
    [InlineData("Retention:Sessions", "3.00:00:00", "Retention:Generations")]
    [InlineData("Worker:IdlePeriod", "00:00:03", "Queue:LeaseTime")]
    [InlineData("Worker:SnapshotPeriod", "00:00:00", "every step")]
    [InlineData("Silo:ShutdownTimeout", "00:00:11", "Worker:DrainTimeout")]
    [InlineData("Store:ReserveMegabytes", "0", "disk is full")]
    [InlineData("Blobs:LeftoverAge", "00:01:00", "write fails")]
    [InlineData("Blobs:TryTimeout", "00:00:01", "8 MiB")]
    [InlineData("Queue:LaeseTime", "00:00:05", "Did you mean Queue:LeaseTime?")]
    public void AnUnwiseSetting_IsAWarning(string key, string value, string what)
    {
        string[] warnings = [.. Read((key, value)).Warnings];
        Assert.Contains(
            warnings, warning => warning.StartsWith($"{key} is ", StringComparison.Ordinal)
                && warning.Contains(what, StringComparison.Ordinal));
    }

    [Fact]
    public void WithoutSettings_NothingIsUnwise_AndKeysOfGatewaysAreNotUnknown() =>
        Assert.Empty(Read(("Cluster:Silos:0", "127.0.0.1:30000"), ("Gateway:Port", "8080")).Warnings);

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("10.1.2.3")]
    [InlineData("::")]
    public void WithoutTls_ASiloStartsOnLoopbackOnly(string address)
    {
        string message = Assert.Throws<InvalidConfigurationException>(
            () => Read(("Silo:Address", address), ("Cluster:Tls", "false"))).Message;
        Assert.Contains(
            $"Cluster:Tls must not be false while Silo:Address is {address}", message, StringComparison.Ordinal);
        Assert.True(Read(("Silo:Address", address)).Get<SiloSettings>().Tls);
        Assert.False(Read(("Silo:Address", "127.0.0.1"), ("Cluster:Tls", "false")).Get<SiloSettings>().Tls);
    }

    [Fact]
    public async Task EnvironmentVariables_ReachTheGrains_AndWarningsTheLog()
    {
        await using var silo = new ClusterPortsTests.RunningSilo
        {
            Variables = new Dictionary<string, string>
            {
                ["Queue__LeaseTime"] = "00:00:07", ["Queue__Slack"] = "0", ["Queue__Slak"] = "0.1",
            },
        };
        await silo.InitializeAsync();
        TurnAnswer answer = await silo.Grains.GetGrain<IWorkQueueGrain>(IWorkQueueGrain.Key).TurnAsync(
            new WorkerTurn { Worker = "w/d", DeviceKind = "kind", Roles = WorkRoles.All, Free = 0 });
        Assert.Equal(TimeSpan.FromSeconds(7), answer.LeaseTime);
        Assert.Contains("Queue:Slack is 0: tenants alternate at every step.", silo.Lines);
        Assert.Contains(
            "Queue:Slak is not a key of a silo and sets nothing. Did you mean Queue:Slack?", silo.Lines);
    }

    [Fact]
    public async Task AWrongSetting_EndsTheProcess_WithExitCode2() =>
        Assert.Equal(
            2,
            await SiloHost.RunAsync(
            [
                "--Silo:Roles=control", $"--Cluster:Secret={Convert.ToBase64String(new byte[32])}",
                "--Queue:LeaseTime=soon",
            ]));

    private static StartOptions Read(params (string Key, string Value)[] settings) => SiloHost.ReadOptions(
        new ConfigurationBuilder().AddInMemoryCollection(
            new Dictionary<string, string?>
            {
                ["Cluster:Secret"] = Convert.ToBase64String(new byte[32]), ["Models:Folders:0"] = "model",
            })
            .AddInMemoryCollection(settings.Select(one => KeyValuePair.Create<string, string?>(one.Key, one.Value)))
            .Build());
}
