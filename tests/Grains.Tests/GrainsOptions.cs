// The options of all grains in one object, as tests set them.
using System.Reflection;
using Atelier.Grains.Generations;
using Atelier.Grains.Models;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Pools;
using Atelier.Grains.Queueing;
using Atelier.Grains.Training;
using Atelier.Grains.Workers;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Tests;

internal sealed class GrainsOptions
{
    public WorkQueueOptions Queue { get; } = new();

    public GenerationOptions Generation { get; } = new();

    public OpenSetOptions OpenSet { get; } = new();

    public RetentionOptions Retention { get; } = new();

    public ModelOptions Models { get; } = new();

    public WorkerOptions Worker { get; } = new();

    public TrainerOptions Trainer { get; } = new();

    public PoolOptions Pool { get; } = new();

    /// <summary>Sets the options of a silo, which validates them when it starts.</summary>
    public void ApplyTo(IServiceCollection services)
    {
        Apply(services, Queue);
        Apply(services, Generation);
        Apply(services, OpenSet);
        Apply(services, Retention);
        Apply(services, Models);
        Apply(services, Worker);
        Apply(services, Trainer);
        Apply(services, Pool);
    }

    /// <summary>Valid options as services, by the types that grains ask for.</summary>
    public IReadOnlyDictionary<Type, object> Services()
    {
        IOptions<WorkQueueOptions> queue = Options.Create(new WorkQueueOptionsValidator().Require(Queue));
        return new Dictionary<Type, object>
        {
            [typeof(IOptions<WorkQueueOptions>)] = queue,
            [typeof(IOptions<GenerationOptions>)] =
                Options.Create(new GenerationOptionsValidator(queue).Require(Generation)),
            [typeof(IOptions<OpenSetOptions>)] = Options.Create(new OpenSetOptionsValidator().Require(OpenSet)),
            [typeof(IOptions<RetentionOptions>)] = Options.Create(new RetentionOptionsValidator().Require(Retention)),
            [typeof(IOptions<ModelOptions>)] = Options.Create(new ModelOptionsValidator().Require(Models)),
            [typeof(IOptions<WorkerOptions>)] = Options.Create(new WorkerOptionsValidator(queue).Require(Worker)),
            [typeof(IOptions<TrainerOptions>)] = Options.Create(new TrainerOptionsValidator().Require(Trainer)),
            [typeof(IOptions<PoolOptions>)] = Options.Create(new PoolOptionsValidator().Require(Pool)),
        };
    }

    private static void Apply<T>(IServiceCollection services, T options) where T : class =>
        services.Configure<T>(target =>
        {
            foreach (PropertyInfo property in typeof(T).GetProperties())
            {
                property.SetValue(target, property.GetValue(options));
            }
        });
}
