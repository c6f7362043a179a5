// The configuration of a training stage, from a YAML file with the reference's keys.
using System.Globalization;
using Atelier.Model.Configuration;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Runtime;
using Atelier.Training;
using TorchSharp;

namespace Atelier.Model.Training.Runs;

/// <summary>The source of a stage's initial weights.</summary>
/// <param name="Path">A run's folder or a weight file; null to use the initializer.</param>
/// <param name="Average">Whether to use the averaged weights if there are any.</param>
public sealed record StageStart(string? Path, bool Average);

/// <summary>Settings of the pictures drawn while a stage runs, which show what the network learns.</summary>
/// <param name="Prompts">Fixed prompts.</param>
/// <param name="Encoders">Folder of the encoders: the folder of a model, or a folder that holds only encoders.</param>
/// <param name="Guidance">Guidance scale.</param>
/// <param name="Steps">Sampling steps.</param>
/// <param name="Seed">Seed of all pictures.</param>
/// <param name="Interval">Steps between panels.</param>
/// <param name="IsScored">In a cluster, whether the pictures get a CLIP score.</param>
/// <param name="DropMax">
/// In a cluster, how far the CLIP score may fall below the best one before the stage is held; null for any distance.
/// </param>
public sealed record StagePanel(
    IReadOnlyList<string> Prompts, string Encoders, double Guidance, int Steps, ulong Seed, long Interval,
    bool IsScored = false, double? DropMax = null)
{
    /// <summary>Maximum number of prompts.</summary>
    public const int PromptsMax = 64;

    /// <summary>Maximum length of a prompt, in UTF-16 code units.</summary>
    public const int PromptLengthMax = 2000;
}

/// <summary>A resolved training stage.</summary>
public sealed record StageConfig
{
    private const string FoldersKey = "dataset.train.datadir", StreamsKey = "dataset.train.streams";
    private static readonly string[] s_parts = ["proportion", "repeat", "choose"];

    /// <summary>Name of the stage.</summary>
    public required string Name { get; init; }

    /// <summary>Seed of all random numbers.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Architecture of the network.</summary>
    public required MicroDiTConfig Network { get; init; }

    /// <summary>Precision of the network's computation; master weights are float32.</summary>
    public required torch.ScalarType Compute { get; init; }

    /// <summary>Settings of a training step.</summary>
    public required TrainingSettings StepSettings { get; init; }

    /// <summary>Fraction of the captions that are dropped.</summary>
    public required double CaptionDrop { get; init; }

    /// <summary>
    /// Folders of the data sets of latents, which are concatenated; "blob:" and a digest for a data set in a cluster's
    /// store.
    /// </summary>
    public required IReadOnlyList<string> DataFolders { get; init; }

    /// <summary>The part of each data set in an epoch; empty if every sample of all occurs once.</summary>
    public IReadOnlyList<StreamShare> Shares { get; init; } = [];

    /// <summary>
    /// Keys that hold the folders of the data sets, with those folders: one key for all, or one for each stream.
    /// </summary>
    public IEnumerable<(string Key, IReadOnlyList<string> Folders)> DataKeys => Shares.Count == 0
        ? [(FoldersKey, DataFolders)]
        : DataFolders.Select((folder, i) => ($"{StreamsKey}.{i}.datadir", (IReadOnlyList<string>)[folder]));

    /// <summary>Column of the latents.</summary>
    public required string LatentColumn { get; init; }

    /// <summary>
    /// Version of the sample order. A configuration has the version of new runs; a run that is resumed keeps its own.
    /// </summary>
    public int OrderVersion { get; init; } = SampleOrder.Version;

    /// <summary>Number of tokens of a caption.</summary>
    public required int CaptionLength { get; init; }

    /// <summary>
    /// In a cluster, the number of steps between two verifications, which compare the replicas' states and compute
    /// shards twice; 0 to verify only at checkpoints.
    /// </summary>
    public long VerifyInterval { get; init; }

    /// <summary>
    /// Whether the run resumes from checkpoints of other kinds of devices, whose results may differ in bits.
    /// </summary>
    public bool TakesOtherDevices { get; init; }

    /// <summary>Number of steps of the stage.</summary>
    public required long Steps { get; init; }

    /// <summary>Steps between checkpoints.</summary>
    public required long SaveInterval { get; init; }

    /// <summary>Number of planned checkpoints to keep.</summary>
    public required int CheckpointsKept { get; init; }

    /// <summary>Folder of checkpoints, metrics and results.</summary>
    public required string Folder { get; init; }

    /// <summary>Source of the initial weights.</summary>
    public required StageStart Start { get; init; }

    /// <summary>Pictures drawn during the stage; null for none.</summary>
    public required StagePanel? Panel { get; init; }

    /// <summary>The policy for bad steps.</summary>
    public required StepPolicy Policy { get; init; }

    /// <summary>The rules that decide whether the stage's batches are applied.</summary>
    public StageRules Rules => new(Name, Steps, StepSettings.GlobalBatch, SaveInterval, Policy);

    /// <summary>Keys and values from which the stage was read, for the report.</summary>
    public required IReadOnlyList<string> Lines { get; init; }

    /// <summary>Reads a stage.</summary>
    /// <param name="path">YAML file.</param>
    /// <param name="overrides">key=value, applied over the file.</param>
    /// <exception cref="RefusedFileException">A key is unknown, missing or has an invalid value.</exception>
    public static StageConfig Read(string path, IEnumerable<string> overrides) =>
        Of(ConfigTree.Read(path, overrides), path);

    /// <summary>Reads a stage from the text of a file.</summary>
    /// <param name="path">Name of the file, for error messages.</param>
    /// <param name="text">YAML.</param>
    /// <param name="overrides">key=value, applied over the text.</param>
    /// <exception cref="RefusedFileException">A key is unknown, missing or has an invalid value.</exception>
    public static StageConfig Parse(string path, string text, IEnumerable<string> overrides) =>
        Of(ConfigTree.Parse(path, text, overrides), path);

    private static StageConfig Of(ConfigTree tree, string path)
    {
        string name = tree.Text("exp_name");
        MicroDiTConfig network = ReadNetwork(tree, path);
        long steps = tree.Batches("trainer.max_duration");
        int batch = (int)tree.Integer("dataset.train_batch_size", 1, 1 << 24);
        int shards = ReadShards(tree, batch);
        List<(string Folder, StreamShare Share)> streams = ReadStreams(tree);
        var config = new StageConfig
        {
            Name = name,
            Seed = (ulong)tree.Integer("seed", 0, long.MaxValue),
            Network = network,
            Compute = Precision.Parse(tree.OneOf(
                "model.dtype", Precision.BFloat16, Precision.BFloat16, Precision.Float32, Precision.Auto)),
            StepSettings = ReadStep(tree, steps, shards, batch / shards),
            CaptionDrop = tree.Number("dataset.cap_drop_prob", 0, 0.999, 0.1),
            DataFolders = streams.Count > 0 ? [.. streams.Select(stream => stream.Folder)] : tree.Texts(FoldersKey),
            Shares = [.. streams.Select(stream => stream.Share)],
            LatentColumn = tree.Text(
                "dataset.latents_column", $"latents_{tree.Integer("dataset.image_size", 1, 1 << 16)}"),
            CaptionLength = (int)tree.Integer("dataset.caption_length", 1, 4096, 77),
            VerifyInterval = tree.Integer("trainer.verify_interval", 0, 1_000_000, 50),
            TakesOtherDevices = tree.OneOf("trainer.mixed", "false", "true", "false") == "true",
            Steps = steps,
            SaveInterval = tree.Batches("trainer.save_interval", min: 1),
            CheckpointsKept = (int)tree.Integer("trainer.save_num_checkpoints_to_keep", 1, 1000, 1),
            Folder = tree.Text("trainer.save_folder", Path.Combine("runs", name)),
            Start = new StageStart(
                tree.Has("trainer.load_path") ? tree.Text("trainer.load_path") : null,
                tree.OneOf("trainer.load_weights", "ema", "ema", "last") == "ema"),
            Panel = ReadPanel(tree),
            Policy = new StepPolicy
            {
                SpikeFactor = tree.Number("trainer.spike_factor", 1, 1e9, 20),
                Patience = (int)tree.Integer("trainer.spike_patience", 1, 1000, 8),
            },
            Lines = [.. tree.Lines],
        };
        tree.RefuseUnknown();
        return config.DataFolders.Count > 0
            ? config : throw tree.Wrong(FoldersKey, "must list at least one folder of latents");
    }

    private static List<(string Folder, StreamShare Share)> ReadStreams(ConfigTree tree)
    {
        var streams = new List<(string Folder, StreamShare Share)>();
        for (int i = 0; i < tree.Mappings(StreamsKey); i++)
        {
            string key = $"{StreamsKey}.{i}.";
            string[] given = [.. s_parts.Where(name => tree.Has(key + name))];
            if (given.Length > 1)
            {
                throw tree.Wrong(
                    key + given[1], $"is given beside {given[0]}; a stream has one of proportion, repeat and choose");
            }

            streams.Add((tree.Text(key + "datadir"), given switch
            {
                ["proportion"] => new StreamShare(StreamShareKind.Proportion, tree.Number(key + given[0], 1e-9, 1)),
                ["repeat"] => new StreamShare(StreamShareKind.Repeat, tree.Number(key + given[0], 1e-9, 1e6)),
                ["choose"] => new StreamShare(
                    StreamShareKind.Choose, tree.Integer(key + given[0], 1, int.MaxValue)),
                _ => StreamShare.Whole,
            }));
        }

        StreamShare[] proportions =
            [.. streams.Select(stream => stream.Share).Where(share => share.Kind == StreamShareKind.Proportion)];
        double sum = proportions.Sum(share => share.Value);
        return streams.Count > 0 && tree.Has(FoldersKey)
            ? throw tree.Wrong(StreamsKey, $"is given beside {FoldersKey}; leave out one of the two")
            : proportions.Length > 0 && proportions.Length < streams.Count
            ? throw tree.Wrong(StreamsKey, "has streams with and without a proportion; give all of them one, or none")
            : proportions.Length > 0 && Math.Abs(sum - 1) > 1e-6
            ? throw tree.Wrong(
                StreamsKey, string.Create(
                    CultureInfo.InvariantCulture, $"has proportions whose sum is {sum:0.######}; it must be 1"))
            : streams;
    }

    // A run fixes its number of shards, V. If only the size of a microbatch is given, a microbatch is a shard.
    private static int ReadShards(ConfigTree tree, int batch)
    {
        const string shardsKey = "trainer.shards", microKey = "trainer.device_train_microbatch_size";
        int? micro = tree.Has(microKey) ? (int)tree.Integer(microKey, 1, batch) : null;
        bool hasShards = tree.Has(shardsKey);
        if (!hasShards && micro is { } size && (batch % size != 0 || !int.IsPow2(batch / size)))
        {
            throw tree.Wrong(
                microKey, $"is {size}; the {batch} samples of a batch must be a power of two times this number");
        }

        int shards = (int)tree.Integer(shardsKey, 1, ReductionTree<object>.ShardsMax, batch / micro);
        if (!int.IsPow2(shards) || batch % shards != 0)
        {
            throw tree.Wrong(
                shardsKey,
                $"is {shards}; it must be a power of two that divides the {batch} samples of "
                + "dataset.train_batch_size");
        }

        return micro is null || micro == batch / shards ? shards : throw tree.Wrong(
            microKey,
            $"is {micro}, but {batch} samples in {shards} shards ({shardsKey}) are {batch / shards} each; leave out "
            + "one of the two keys");
    }

    private static MicroDiTConfig ReadNetwork(ConfigTree tree, string path)
    {
        int size = (int)tree.Integer("model.latent_res", 1, 1024);
        int channels = (int)tree.Integer("model.in_channels", 1, 1024, 4);
        int caption = (int)tree.Integer("model.caption_channels", 1, 65536, 1024);
        double scale = tree.Number("model.pos_interp_scale", 1e-3, 1e3, 1);
        string architecture = tree.Text("model.dit_arch");
        try
        {
            if (architecture != "custom")
            {
                return MicroDiTConfig.Preset(architecture, size, channels, caption, scale);
            }

            int depth = (int)tree.Integer("model.depth", 1, 1000);
            (double First, double Last) qkv = tree.Range("model.qkv_ratio", 0.5, 1.0);
            (double First, double Last) mlp = tree.Range("model.mlp_ratio", 0.5, 4.0);
            return new MicroDiTConfig
            {
                InputSize = size,
                InChannels = channels,
                CaptionChannels = caption,
                PosInterpScale = scale,
                Dim = (int)tree.Integer("model.dim", 4, 65536),
                Depth = depth,
                HeadDim = (int)tree.Integer("model.head_dim", 1, 1024, 32),
                MultipleOf = (int)tree.Integer("model.multiple_of", 1, 65536, 32),
                PatchSize = (int)tree.Integer("model.patch_size", 1, 64, 2),
                QkvMultipliers = MicroDiTConfig.Linspace(qkv.First, qkv.Last, depth),
                FfnMultipliers = MicroDiTConfig.Linspace(mlp.First, mlp.Last, depth),
                PatchMixerDepth = (int)tree.Integer("model.patch_mixer_depth", 1, 1000),
                PatchMixerDim = (int)tree.Integer("model.patch_mixer_dim", 4, 65536),
                PatchMixerMlpRatio = tree.Number("model.patch_mixer_mlp_ratio", 0.01, 64, 4),
                UseBias = false,
                NumExperts = (int)tree.Integer("model.num_experts", 1, 1024, 8),
                ExpertCapacity = tree.Number("model.expert_capacity", 0.01, 1024, 2),
                ExpertsEveryN = (int)tree.Integer("model.experts_every_n", 1, 1000, 2),
            }.Checked();
        }
        catch (ArgumentException error)
        {
            throw new RefusedFileException(path, "model", error.Message, error);
        }
    }

    private static TrainingSettings ReadStep(ConfigTree tree, long steps, int shards, int micro)
    {
        double[] betas = tree.Numbers("optimizer.betas") ?? [0.9, 0.999];
        if (betas is not [> 0 and < 1, > 0 and < 1])
        {
            throw tree.Wrong("optimizer.betas", "must be two numbers between 0 and 1");
        }

        bool cosine = tree.OneOf("scheduler.name", "constant", "constant", "cosine") == "cosine";
        return new TrainingSettings
        {
            Edm = new Edm
            {
                PMean = tree.Number("model.p_mean", -100, 100),
                PStd = tree.Number("model.p_std", 1e-6, 100),
                SigmaData = tree.Number("model.sigma_data", 1e-6, 1e6, 0.9),
            },
            MaskRatio = tree.Number("model.train_mask_ratio", 0, 0.99),
            Shards = shards,
            Microbatch = micro,
            ThreadsPerShard = (int)tree.Integer(
                "trainer.threads_per_shard", 1, TrainingSettings.ThreadsPerShardMax, 1),
            LearningRate = new LearningRate
            {
                Shape = cosine ? ScheduleShape.Cosine : ScheduleShape.Constant,
                Base = tree.Number("optimizer.lr", 0, 1),
                WarmupSteps = tree.Batches("scheduler.t_warmup", 0),
                TotalSteps = Math.Max(1, steps),
                FinalFraction = tree.Number("scheduler.alpha_f", 0, 1, 0),
                LagsOneBatch = tree.OneOf("scheduler.lags_one_batch", "true", "true", "false") == "true",
            },
            Optimizer = new AdamWSettings
            {
                Beta1 = betas[0],
                Beta2 = betas[1],
                Epsilon = tree.Number("optimizer.eps", 0, 1, 1e-8),
                WeightDecay = tree.Number("optimizer.weight_decay", 0, 10, 0),
            },
            ClipNorm = tree.Number("algorithms.gradient_clipping.clip_norm", 1e-9, double.MaxValue, double.MaxValue),
            EmaSmoothing = tree.Has("algorithms.ema.smoothing") ? tree.Number("algorithms.ema.smoothing", 0, 1) : null,
            EmaStart = tree.Batches("algorithms.ema.ema_start", 0),
        };
    }

    private static StagePanel? ReadPanel(ConfigTree tree)
    {
        string[] prompts = tree.Texts("panel.prompts");
        var panel = new StagePanel(
            prompts, prompts.Length == 0 ? "" : tree.Text("panel.encoders"),
            tree.Number("panel.guidance_scale", 1, 100, 5), (int)tree.Integer("panel.sampling_steps", 1, 1000, 18),
            (ulong)tree.Integer("panel.seed", 0, long.MaxValue, 18), tree.Batches("panel.interval", 1000, min: 1),
            tree.OneOf("panel.score", "none", "none", "clip") == "clip",
            tree.Has("panel.max_drop") ? tree.Number("panel.max_drop", 0, 100) : null);
        if (prompts.Length > StagePanel.PromptsMax)
        {
            throw tree.Wrong(
                "panel.prompts", $"has {prompts.Length} prompts; a panel has at most {StagePanel.PromptsMax}");
        }

        if (prompts.FirstOrDefault(prompt => string.IsNullOrWhiteSpace(prompt)
            || prompt.Length > StagePanel.PromptLengthMax) is { } wrong)
        {
            throw tree.Wrong(
                "panel.prompts",
                $"has a prompt of {wrong.Length} characters; each has 1 to {StagePanel.PromptLengthMax}, and not only "
                + "blanks");
        }

        if (panel is { DropMax: not null, IsScored: false })
        {
            throw tree.Wrong("panel.max_drop", "needs a score: set panel.score to clip");
        }

        return prompts.Length == 0 ? null : panel;
    }
}
