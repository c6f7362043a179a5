// Goal: a tenant's counts drift in neither direction, whatever is lost, doubled or late, and however often the tenant's
// grain moves. Method: the protocol between generations and their tenant over many seeds; in the end nothing counts as
// open, and the day's count is what was computed. Restarts may add to it, by amounts that the test calculates: what was
// reserved ahead before a crash, admissions without an answer, and the refunds of generations that end before a walk
// has reported their charge to the new activation.
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Tenants;
using Xunit;

namespace Atelier.Grains.Tests.Tenants;

public sealed class TenantDriftTests
{
    private const int Seeds = 2000, Events = 150;

    private static readonly DateTimeOffset s_now = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

    [Fact]
    public void Counts_AreExact_WhateverIsLostDoubledOrLate()
    {
        for (int seed = 0; seed < Seeds; seed++)
        {
            var tenant = new DriftingTenant(seed, restarts: false);
            tenant.Run();
            Assert.True(tenant.Excess == 0 && tenant.Settled > 10, $"seed={seed}");
        }
    }

    [Fact]
    public void Counts_AreThoseComputed_AndWhatRestartsMayAdd()
    {
        long excess = 0;
        for (int seed = 0; seed < Seeds; seed++)
        {
            var tenant = new DriftingTenant(seed, restarts: true);
            tenant.Run();
            excess += tenant.Excess;
        }

        Assert.True(excess > 0);
    }

    private sealed class Work(GenerationId id, int evaluations)
    {
        public GenerationId Id => id;

        public int Evaluations => evaluations;

        public long Day { get; set; }

        public int Computed { get; set; }

        public bool IsAccepted { get; set; }

        public bool IsOver { get; set; }

        public bool IsSettled { get; set; }

        /// <summary>Whether the tenant's present activation knows the charge.</summary>
        public bool IsKnown { get; set; }
    }

    private sealed class DriftingTenant(int seed, bool restarts)
    {
        private readonly Random _random = new(seed);
        private readonly Dictionary<GenerationId, Work> _works = [];
        private readonly List<(Work Work, bool IsEnd)> _late = [];
        private TenantState _stored = new();
        private TenantState _state = null!;
        private TenantLimits _limits = null!;

        /// <summary>What is counted beyond what was computed.</summary>
        public long Excess { get; private set; }

        public int Settled => _works.Values.Count(work => work.IsSettled);

        public void Run()
        {
            _stored.Settings = new TenantSettings
            {
                EvaluationsPerDay = 100_000, RequestsPerMinute = 1_000_000, OpenGenerations = 1000,
            };
            Activate();
            for (int i = 0; i < Events; i++)
            {
                Happen(i);
            }

            foreach (Work work in _works.Values.Where(work => !work.IsOver))
            {
                End(work);
            }

            _late.ForEach(Deliver);
            Walk();
            Walk();

            // Before a restart the answer to its admission was lost, so that only the earlier activation knew of it.
            Excess += _works.Values.Where(work => !work.IsSettled).Sum(work => work.Evaluations);
            long computed = _works.Values.Sum(work => (long)work.Computed);
            Assert.True(
                _limits.Open == 0 && _limits.UsedToday(s_now) == computed + Excess,
                $"{_limits.Open} are open, {_limits.UsedToday(s_now)} are counted: {computed} and {Excess}, "
                + $"seed={seed}");
        }

        private void Happen(int number)
        {
            Work? one = Any(work => !work.IsOver);
            switch (_random.Next(10))
            {
                case 0 or 1 or 2:
                    var work = new Work(new GenerationId($"g{number}"), _random.Next(1, 500));
                    _works[work.Id] = work;
                    Admit(work);
                    break;
                case 3 when one is { IsAccepted: false }:
                    Admit(one); // The client has received no answer and tries again.
                    break;
                case 4 or 5 when one is not null:
                    End(one);
                    for (int times = _random.Next(3); times > 0; times--)
                    {
                        Send(one, isEnd: true);
                    }

                    break;
                case 6 when one is { IsAccepted: true }:
                    Send(one, isEnd: false);
                    break;
                case 7 when _late.Count > 0:
                    int at = _random.Next(_late.Count);
                    Deliver(_late[at]);
                    _late.RemoveAt(at);
                    break;
                case 8:
                    Walk();
                    break;
                case 9 when restarts && _random.Next(3) == 0:
                    Restart(crash: _random.Next(2) == 0);
                    break;
            }
        }

        private Work? Any(Func<Work, bool> which) =>
            _works.Values.Where(which).OrderBy(_ => _random.Next()).FirstOrDefault();

        // The answer is lost in one of four.
        private void Admit(Work work)
        {
            Excess += work is { Day: > 0, IsKnown: false } ? work.Evaluations : 0; // Charged again.
            Admission admission = _limits.Admit(work.Id, work.Evaluations, s_now, out bool store);
            Assert.Equal(AdmissionOutcome.Admitted, admission.Outcome);
            Keep(store);
            (work.Day, work.IsKnown, work.IsAccepted) = (admission.Day, true, _random.Next(4) > 0);
        }

        private void End(Work work) =>
            (work.IsOver, work.Computed) = (true, work.IsAccepted ? _random.Next(work.Evaluations + 1) : 0);

        private void Send(Work work, bool isEnd)
        {
            if (_random.Next(2) == 0)
            {
                Deliver((work, isEnd));
            }
            else
            {
                _late.Add((work, isEnd));
            }
        }

        private void Deliver((Work Work, bool IsEnd) message)
        {
            (Work work, bool isEnd) = message;
            if (!isEnd)
            {
                _limits.Confirm(work.Id, work.Evaluations, work.Day, s_now);
                work.IsKnown |= !work.IsSettled;
                return;
            }

            Excess += work is { IsSettled: false, IsKnown: false } ? work.Evaluations - work.Computed : 0;
            Keep(_limits.Settle(work.Id, work.Computed));
            (work.IsSettled, work.IsKnown) = (true, false);
        }

        // Every generation of the open set reports what it is, and so does every one that the tenant counts as open.
        private void Walk()
        {
            foreach (Work work in OpenSet().Union(
                _limits.Unconfirmed(TimeSpan.FromTicks(-1), s_now).Select(id => _works[id])).ToArray())
            {
                work.IsOver |= !work.IsAccepted;
                Deliver((work, work.IsOver));
            }
        }

        private IEnumerable<Work> OpenSet() =>
            _works.Values.Where(work => work is { IsAccepted: true, IsSettled: false });

        private void Restart(bool crash)
        {
            if (!crash)
            {
                Keep(_limits.Checkpoint(s_now));
                Assert.Equal(_limits.UsedToday(s_now), _stored.Reserved);
            }

            Excess += _stored.Reserved - _limits.UsedToday(s_now);
            Activate();
            _late.RemoveAll(message => !message.IsEnd);
            foreach (Work work in _works.Values)
            {
                work.IsKnown = false;
            }

            // A partition of the open set may not answer.
            foreach (Work work in OpenSet().Where(_ => _random.Next(4) > 0))
            {
                _limits.AddOpen(work.Id, s_now);
            }
        }

        private void Activate() => _limits = new TenantLimits(_state = Copy(_stored));

        private void Keep(bool store) => _stored = store ? Copy(_state) : _stored;

        private static TenantState Copy(TenantState state) => new()
        {
            Settings = state.Settings, Day = state.Day, Reserved = state.Reserved, Tokens = state.Tokens,
            TokensAt = state.TokensAt,
        };
    }
}
