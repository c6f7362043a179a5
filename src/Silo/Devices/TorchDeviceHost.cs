// The implementation of the grains' device port with libtorch networks. All work on tensors happens on the device's
// lane, which each piece of work acquires and then releases; callers pass and receive bytes and numbers. A picture's
// bytes equal those of the command line for the same request, because both use the same parts in the same order.
using System.Collections.Concurrent;
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Grains.Ports;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using static TorchSharp.torch;

namespace Atelier.Silo.Devices;

/// <summary>A device whose networks run in libtorch.</summary>
public sealed class TorchDeviceHost : IDeviceHost, IOffersModels, IDisposable
{
    private readonly TorchDeviceOptions _options;
    private readonly DeviceLane _lane;
    private readonly DeviceInstruments? _instruments;

    // Every model that was ever offered: work in progress may need one that is withdrawn.
    private readonly ConcurrentDictionary<ModelDigest, DeviceModel> _models;
    private readonly ModelCard[] _own;
    private volatile DeviceDescription _description;

    // Used only by the lane's thread.
    private readonly Dictionary<ModelDigest, TextToImage> _loaded = [];

    /// <summary>Initializes the device; no model is loaded yet.</summary>
    /// <param name="models">Models that the device can load.</param>
    /// <param name="options">Options of the device.</param>
    /// <param name="lane">The lane on which the device computes; the caller still owns it.</param>
    /// <param name="instruments">Measures which models are loaded; null if nothing measures it.</param>
    /// <exception cref="ArgumentException">The options are not valid; the message says why.</exception>
    public TorchDeviceHost(
        IReadOnlyList<DeviceModel> models, TorchDeviceOptions options, DeviceLane lane,
        DeviceInstruments? instruments = null)
    {
        _options = new TorchDeviceOptionsValidator().Require(options);
        _models = new(models.Select(model => KeyValuePair.Create(model.Card.Digest, model)));
        (_lane, _instruments) = (lane, instruments);
        _description = new DeviceDescription
        {
            Device = options.Name,
            DeviceKind = DeviceKinds.Cpu(options.Threads, options.Rows),
            Roles = options.Roles,
            Slots = options.Slots,
            Rows = options.Rows,
            MemoryBytes = options.MemoryBytes,
            Models = _own = [.. models.Select(model => model.Card)],
        };
    }

    /// <inheritdoc/>
    public DeviceDescription Description => _description;

    /// <inheritdoc/>
    public void Offer(IReadOnlyList<DeviceModel> models)
    {
        foreach (DeviceModel model in models)
        {
            _models.TryAdd(model.Card.Digest, model);
        }

        ModelCard[] cards = [.. _own.Concat(models.Select(model => model.Card)).DistinctBy(card => card.Digest)];
        if (!cards.SequenceEqual(_description.Models))
        {
            _description = _description with { Models = cards };
        }
    }

    /// <inheritdoc/>
    public Task LoadAsync(ModelDigest model, CancellationToken cancellation) =>
        RunAsync($"Loading the model {model}", _options.LoadTimeout, () =>
        {
            if (!_loaded.ContainsKey(model))
            {
                DeviceModel known = Known(model);
                var loading = Stopwatch.StartNew();
                try
                {
                    _loaded.Add(model, known.Load(_options.Rows));
                    _instruments?.Loaded(known.Card.MemoryBytes, loading.Elapsed);
                }
                catch (Model.RefusedFileException error)
                {
                    throw new DeviceException(GenerationError.InvalidRequest, error.Message, error);
                }
            }

            return true;
        }, cancellation);

    /// <inheritdoc/>
    public Task EvictAsync(ModelDigest model, CancellationToken cancellation) =>
        RunAsync($"Evicting the model {model}", _options.WorkTimeout, () =>
        {
            if (_loaded.Remove(model, out TextToImage? networks))
            {
                networks.Dispose();
                _instruments?.Evicted(Known(model).Card.MemoryBytes);
            }

            return true;
        }, cancellation);

    /// <inheritdoc/>
    public Task ProbeAsync(CancellationToken cancellation) =>
        RunAsync("A probe", _options.WorkTimeout, DeviceProbe.Run, cancellation);

    /// <inheritdoc/>
    public Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation) =>
        RunAsync("Encoding a caption", _options.WorkTimeout, () => Numbers(spec.Model, () =>
        {
            (TextToImage networks, GenerationRequest request) = Open(spec);
            (int length, int width) = networks.CaptionShape;
            return CaptionBytes.Write(
                length, width, Features(networks, request.Prompt),
                LeadsAway(request) ? Features(networks, request.Negative) : null);
        }), cancellation);

    /// <inheritdoc/>
    public Task<EncodedPrompts?> CountAsync(GenerationSpec spec, CancellationToken cancellation) =>
        RunAsync<EncodedPrompts?>("Counting tokens", _options.WorkTimeout, () =>
        {
            (TextToImage networks, GenerationRequest request) = Open(spec);
            return new EncodedPrompts(
                Count(networks, request.Prompt), LeadsAway(request) ? Count(networks, request.Negative) : null);
        }, cancellation);

    /// <inheritdoc/>
    public Task<IDenoising> BeginAsync(
        GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation) =>
        RunAsync("Beginning a picture", _options.WorkTimeout, () => Numbers<IDenoising>(spec.Model, () =>
        {
            (TextToImage networks, GenerationRequest request) = Open(spec);
            HeunSampler sampler = TextToImage.Sampler(request);
            SamplerState state = snapshot is null
                ? networks.Start(request, sampler)
                : Refusing(() => ReadState(snapshot, networks, sampler));
            (int length, int width) = networks.CaptionShape;
            (float[] prompt, float[]? negative) = Refusing(() => CaptionBytes.Read(caption, length, width));
            CaptionContext context = Condition(networks, prompt);
            try
            {
                CaptionContext away = request.Sampler.Guidance == 1
                    ? context
                    : Condition(networks, negative ?? new float[length * width]);
                return new Denoising(this, spec.Model, sampler, state, context, away);
            }
            catch
            {
                context.Dispose();
                throw;
            }
        }), cancellation);

    /// <inheritdoc/>
    public Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation) =>
        RunAsync($"An evaluation of {batch.Count} pictures", _options.WorkTimeout, () =>
        {
            Denoising[] pictures = [.. batch.Select(Own)];
            if (pictures.Length == 0)
            {
                return true;
            }

            if (Array.Exists(pictures, picture => picture.BatchKey != pictures[0].BatchKey))
            {
                throw new ArgumentException("Pictures of different models cannot share an evaluation.", nameof(batch));
            }

            double[][] answers = Numbers(pictures[0].Model, () => Loaded(pictures[0].Model).Evaluate(
                [.. pictures.Select(p => new DenoiserRequest(p.Sampler.Next(p.State), p.Prompt, p.Negative))]));

            // Nothing below fails, so either all pictures advance or none does.
            for (int i = 0; i < pictures.Length; i++)
            {
                pictures[i].Advance(answers[i]);
            }

            return true;
        }, cancellation);

    /// <inheritdoc/>
    public Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation) =>
        RunAsync("Decoding a preview", _options.WorkTimeout, () => Numbers(spec.Model, () =>
        {
            double[] estimate = Own(picture).Estimate
                ?? throw new InvalidOperationException(
                    "The picture was not evaluated on this device, so there is no estimate for a preview.");

            // A preview's PNG file gets no text chunks that describe its generation.
            return Encode(Open(spec).Networks.Decode(estimate), []);
        }), cancellation);

    /// <inheritdoc/>
    public Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation) =>
        RunAsync("Decoding a picture", _options.WorkTimeout, () => Numbers(spec.Model, () =>
        {
            (TextToImage networks, GenerationRequest request) = Open(spec);
            HeunSampler sampler = TextToImage.Sampler(request);
            SamplerState state = Refusing(() => ReadState(latent, networks, sampler));
            if (!sampler.IsDone(state))
            {
                throw new DeviceException(
                    GenerationError.InvalidRequest, $"The latent is that of step {state.Step}, not of the last step.");
            }

            return Encode(
                networks.Decode(state.Latent), [("parameters", request.Parameters(Known(spec.Model).Folder))]);
        }), cancellation);

    /// <summary>Frees the models after the work in flight.</summary>
    public void Dispose() => _lane.Free(() =>
    {
        foreach (TextToImage networks in _loaded.Values)
        {
            networks.Dispose();
        }

        _loaded.Clear();
    });

    private static byte[] Encode(RgbImage image, (string Keyword, string Text)[] texts)
    {
        using var file = new MemoryStream();
        Png.Write(file, image.Pixels, image.Width, image.Height, texts);
        return file.ToArray();
    }

    private static bool LeadsAway(GenerationRequest request) =>
        request.Sampler.Guidance != 1 && request.Negative.Length > 0;

    private static PromptTokens Count(TextToImage networks, string text)
    {
        TokenCount count = networks.Count(text);
        return new PromptTokens(count.Given, count.Used, count.CutAt);
    }

    private static float[] Features(TextToImage networks, string text)
    {
        using var scope = NewDisposeScope();
        return networks.Encode(text).to(ScalarType.Float32).cpu().contiguous().data<float>().ToArray();
    }

    private static CaptionContext Condition(TextToImage networks, float[] features)
    {
        using var scope = NewDisposeScope();
        (int length, int width) = networks.CaptionShape;
        return networks.Condition(tensor(features, [1, length, width])).Detached();
    }

    private static SamplerState ReadState(byte[] bytes, TextToImage networks, HeunSampler sampler)
    {
        SamplerState state = SamplerState.FromBytes(bytes);
        _ = sampler.IsDone(state);
        return state.Latent.Length == networks.LatentLength
            ? state
            : throw new FormatException(
                $"The state has {state.Latent.Length} numbers; this model's latents have {networks.LatentLength}.");
    }

    // Invalid input is the request's fault, not the device's.
    private static T Refusing<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception error) when (error is FormatException or ArgumentException)
        {
            // Users see this message, so the parameter's name is removed.
            string message = error.Message.Split(" (Parameter ")[0];
            throw new DeviceException(GenerationError.InvalidRequest, message, error);
        }
    }

    // NaN and infinity are a fault of the model or the device, not of the request, whichever part produced them.
    private T Numbers<T>(ModelDigest model, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (Model.NonFiniteException error)
        {
            throw new DeviceException(GenerationError.NonFinite, error.Of(Known(model).Folder.Name), error);
        }
    }

    private async Task<T> RunAsync<T>(string what, TimeSpan limit, Func<T> work, CancellationToken cancellation)
    {
        using DeviceLoan loan = await _lane.AcquireAsync("pictures", cancellation);
        return await loan.RunAsync(what, limit, work);
    }

    private (TextToImage Networks, GenerationRequest Request) Open(GenerationSpec spec)
    {
        TextToImage networks = Loaded(spec.Model);
        if (spec.Fault() is { } fault)
        {
            throw new DeviceException(GenerationError.InvalidRequest, fault);
        }

        if (spec.Width != spec.Height)
        {
            throw new DeviceException(
                GenerationError.InvalidRequest, $"This model draws square pictures, not {spec.Width}x{spec.Height}.");
        }

        var request = new GenerationRequest
        {
            Prompt = spec.Prompt,
            Negative = spec.Negative,
            Seed = spec.Seed,
            Size = spec.Width,
            Sampler = new SamplerSettings { Steps = spec.Steps, Guidance = spec.Guidance },
        };
        return (networks, Refusing(() => request.Checked(Known(spec.Model).Folder.Resolution)));
    }

    private DeviceModel Known(ModelDigest model) => _models.GetValueOrDefault(model)
        ?? throw new InvalidOperationException($"The model {model} is not one that this device can load.");

    private TextToImage Loaded(ModelDigest model) => _loaded.GetValueOrDefault(model)
        ?? throw new InvalidOperationException($"The model {model} is not loaded on this device.");

    private Denoising Own(IDenoising picture) => picture is Denoising own && ReferenceEquals(own.Host, this)
        ? own
        : throw new ArgumentException("The picture was not begun on this device.", nameof(picture));

    private sealed class Denoising(
        TorchDeviceHost host, ModelDigest model, HeunSampler sampler, SamplerState state, CaptionContext prompt,
        CaptionContext negative) : IDenoising
    {
        private int _disposed;

        public TorchDeviceHost Host => host;

        public ModelDigest Model => model;

        public HeunSampler Sampler => sampler;

        public SamplerState State { get; private set; } = state;

        public CaptionContext Prompt => prompt;

        public CaptionContext Negative => negative;

        public double[]? Estimate { get; private set; }

        // A model draws pictures of one size, so its digest determines the shape of an evaluation.
        public string BatchKey => model.Value;

        public int Rows => ReferenceEquals(prompt, negative) ? 1 : 2;

        public bool IsBetweenSteps => !State.IsCorrector;

        public bool IsDone => sampler.IsDone(State);

        public int Step => State.Step;

        public void Advance(double[] estimate)
        {
            State = sampler.Advance(State, estimate);
            Estimate = estimate;
        }

        public byte[] Snapshot() => State.ToBytes();

        public byte[] Latent() => IsDone
            ? State.ToBytes()
            : throw new InvalidOperationException($"The picture is at step {Step} and has no finished latent yet.");

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
            {
                host._lane.Free(() =>
                {
                    prompt.Dispose();
                    if (!ReferenceEquals(negative, prompt))
                    {
                        negative.Dispose();
                    }
                });
            }
        }
    }
}
