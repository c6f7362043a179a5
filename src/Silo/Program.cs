// A silo's process, or the command that fetches a model for one.
using Atelier.Silo.Hosting;

return args is [FetchModel.Name, .. var rest] ? await FetchModel.RunAsync(rest) : await SiloHost.RunAsync(args);
