// Connections between the trainers of one process: frames are encoded and decoded as on the wire, so that no trainer
// shares memory with another.
using System.Collections.Concurrent;
using System.Threading.Channels;
using Atelier.Grains.Ports;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Tests.Training;

internal sealed class MemoryNetwork : ITrainerNetwork
{
    private readonly ConcurrentDictionary<TrainerId, Peers> _open = new();

    /// <summary>Called for every frame that is sent.</summary>
    public Action<TrainerId, TrainerId, Frame>? Sent { get; set; }

    public Task<ITrainerPeers> ListenAsync(
        TrainerId self, string stage, StageFacts facts, ITrainerPeerEvents events, CancellationToken cancellation)
    {
        var limits = new FrameLimits
        {
            Parameters = (int)facts.Parameters, Shards = facts.Shards, Samples = facts.Batch, StateBytes = 1 << 20,
        };
        var peers = new Peers(this, self, new FrameCodec(limits), events);
        _open[self] = peers;
        return Task.FromResult<ITrainerPeers>(peers);
    }

    private sealed class Peers : ITrainerPeers
    {
        private readonly MemoryNetwork _network;
        private readonly TrainerId _self;
        private readonly FrameCodec _codec;
        private readonly ITrainerPeerEvents _events;
        private readonly Channel<(TrainerId From, byte[][] Frames)> _arrived =
            Channel.CreateUnbounded<(TrainerId, byte[][])>();
        private readonly Dictionary<TrainerId, StateAssembly> _states = [];
        private readonly Task _receiving;
        private volatile TrainerId[] _members = [];

        public Peers(MemoryNetwork network, TrainerId self, FrameCodec codec, ITrainerPeerEvents events)
        {
            (_network, _self, _codec, _events) = (network, self, codec, events);
            _receiving = Task.Run(ReceiveAsync);
        }

        public string Address => $"memory:{_self}";

        public IReadOnlyList<TrainerId> Unreachable =>
            [.. _members.Where(member => member != _self && !_network._open.ContainsKey(member))];

        public void Connect(IReadOnlyDictionary<TrainerId, string> addresses) => _members = [.. addresses.Keys];

        public void Send(TrainerId to, Frame frame)
        {
            _network.Sent?.Invoke(_self, to, frame);
            byte[][] frames = frame is StateFrame { State: not null } state ? Chunks(state) : [Encode(frame)];
            if (_network._open.TryGetValue(to, out Peers? peer))
            {
                peer._arrived.Writer.TryWrite((_self, frames));
            }
        }

        public async ValueTask DisposeAsync()
        {
            _network._open.TryRemove(_self, out _);
            _arrived.Writer.TryComplete();
            await _receiving.WaitAsync(CancellationToken.None);
            foreach (Peers other in _network._open.Values)
            {
                other._events.Disconnected(_self);
            }
        }

        private byte[] Encode(Frame frame)
        {
            FrameEncoding encoding = _codec.Encode(frame);
            using var all = new MemoryStream();
            while (encoding.TryNext(out ReadOnlyMemory<byte> piece))
            {
                all.Write(piece.Span);
            }

            return all.ToArray();
        }

        private byte[][] Chunks(StateFrame frame)
        {
            using var sender = new StateSender(_codec, frame);
            var chunks = new List<byte[]>();
            while (sender.TryNext(out ReadOnlyMemory<byte> chunk))
            {
                chunks.Add(chunk.ToArray());
            }

            return [.. chunks];
        }

        private async Task ReceiveAsync()
        {
            var decoder = new FrameDecoder(_codec);
            await foreach ((TrainerId from, byte[][] frames) in _arrived.Reader.ReadAllAsync())
            {
                foreach (byte[] bytes in frames)
                {
                    Frame? frame = Decode(decoder, bytes);
                    if (frame is StateChunkFrame chunk)
                    {
                        if (!_states.TryGetValue(from, out StateAssembly? assembly))
                        {
                            _states.Add(from, assembly = new StateAssembly());
                        }

                        frame = assembly.Add(chunk);
                    }

                    if (frame is not null)
                    {
                        _events.Received(from, frame, NoCredit.Instance);
                    }
                }
            }
        }

        private static Frame Decode(FrameDecoder decoder, byte[] bytes)
        {
            FrameBody body = decoder.Begin(bytes.AsSpan(0, FrameCodec.HeaderBytes));
            int at = FrameCodec.HeaderBytes;
            while (!body.IsWhole)
            {
                Span<byte> window = body.Window().Span;
                int count = Math.Min(window.Length, bytes.Length - at);
                bytes.AsSpan(at, count).CopyTo(window);
                body.Advance(count);
                at += count;
            }

            return body.ToFrame();
        }
    }

    private sealed class NoCredit : IDisposable
    {
        public static readonly NoCredit Instance = new();

        public void Dispose()
        {
        }
    }
}
