// The parts of Unity's API that this package uses, without any behaviour. They exist to compile the package's Unity code in a
// test: a program that calls them does nothing.

using System;

namespace UnityEngine
{
    [AttributeUsage(AttributeTargets.Field)]
    public sealed class SerializeField : Attribute
    {
    }

    [AttributeUsage(AttributeTargets.Class)]
    public sealed class DefaultExecutionOrder : Attribute
    {
        public DefaultExecutionOrder(int order)
        {
        }
    }

    [Flags]
    public enum HideFlags
    {
        None = 0,
        HideInHierarchy = 1,
    }

    public enum PrimitiveType
    {
        Sphere,
        Capsule,
        Cylinder,
        Cube,
        Plane,
        Quad,
    }

    public enum KeyCode
    {
        Space = 32,
        UpArrow = 273,
        DownArrow = 274,
        RightArrow = 275,
        LeftArrow = 276,
    }

    public class Object
    {
        public string name { get; set; }

        public HideFlags hideFlags { get; set; }

        public static implicit operator bool(Object exists)
        {
            return !ReferenceEquals(exists, null);
        }

        public static void Destroy(Object target)
        {
        }

        public static void DontDestroyOnLoad(Object target)
        {
        }
    }

    public class Component : Object
    {
        public GameObject gameObject { get; }

        public Transform transform { get; }
    }

    public class Behaviour : Component
    {
        public bool enabled { get; set; }
    }

    public class MonoBehaviour : Behaviour
    {
    }

    public sealed class GameObject : Object
    {
        public GameObject(string name)
        {
        }

        public Transform transform { get; }

        public static GameObject CreatePrimitive(PrimitiveType type)
        {
            return null;
        }

        public T AddComponent<T>()
            where T : Component
        {
            return null;
        }

        public T GetComponent<T>()
        {
            return default(T);
        }

        public void SetActive(bool value)
        {
        }
    }

    public sealed class Transform : Component
    {
        public Vector3 position { get; set; }

        public Quaternion rotation { get; set; }

        public Vector3 localScale { get; set; }

        public void SetPositionAndRotation(Vector3 position, Quaternion rotation)
        {
        }

        public void SetParent(Transform parent)
        {
        }
    }

    public sealed class Renderer : Component
    {
        public Material material { get; set; }
    }

    public sealed class Material : Object
    {
        public Color color { get; set; }
    }

    public sealed class Camera : Behaviour
    {
        public static Camera main { get; }

        public bool orthographic { get; set; }

        public float orthographicSize { get; set; }
    }

    public static class Debug
    {
        public static void Log(object message)
        {
        }

        public static void LogException(Exception exception)
        {
        }
    }

    public static class PlayerPrefs
    {
        public static string GetString(string key, string defaultValue)
        {
            return defaultValue;
        }

        public static void SetString(string key, string value)
        {
        }

        public static void DeleteKey(string key)
        {
        }

        public static void Save()
        {
        }
    }

    public static class Time
    {
        public static float unscaledDeltaTime { get; }
    }

    public static class Input
    {
        public static bool GetKey(KeyCode key)
        {
            return false;
        }
    }

    public static class Mathf
    {
        public const float Rad2Deg = 57.29578f;
    }
}
