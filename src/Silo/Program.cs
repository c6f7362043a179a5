// A silo's process: see Hosting/SiloHost.cs.
using Atelier.Silo.Hosting;

return await SiloHost.RunAsync(args);
