// The entry point of the atelier command.
return await Atelier.Cli.Commands.AtelierCommand.RunAsync(args);
